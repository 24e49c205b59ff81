"""What downloaders make of servers that cut, change and lie: `make scoreboard`."""
