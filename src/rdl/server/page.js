"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SPOKEN_EVERY = 30000;
  const at = (id) => document.getElementById(id);
  const flights = at("flights"), blank = at("blank").content.firstElementChild;
  const rows = new Map([...flights.children].map((row) => [row.dataset.path, row]));
  let spoken = 0;

  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const rect = ([x, width, shade]) => {
    const found = document.createElementNS(SVG, "rect");
    const facts = { x, width, height: 1, class: `s${shade}` };
    for (const [name, value] of Object.entries(facts)) found.setAttribute(name, value);
    return found;
  };

  const show = (row, flight) => {
    const link = row.querySelector("a"), map = row.querySelector("svg");
    row.dataset.path = flight.path;
    if (link.getAttribute("href") !== flight.href) link.setAttribute("href", flight.href);
    say(link, flight.name);
    say(row.querySelector("p"), flight.text);
    map.setAttribute("aria-label", flight.label);
    map.replaceChildren(...flight.runs.map(rect));
  };

  const take = (picture) => {
    const here = new Set(picture.flights.map((flight) => flight.path));
    for (const [path, row] of rows) {
      if (!here.has(path)) { row.remove(); rows.delete(path); }
    }
    for (const flight of picture.flights) {
      let row = rows.get(flight.path);
      if (!row) {
        row = blank.cloneNode(true);
        rows.set(flight.path, row);
        flights.append(row);
      }
      show(row, flight);
    }
    say(at("summary"), picture.summary);
    say(at("server"), picture.server);
    if (Date.now() - spoken >= SPOKEN_EVERY) {
      spoken = Date.now();
      say(at("spoken"), picture.summary);
    }
  };

  const source = new EventSource("./.rdl/events");
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onopen = () => say(at("state"), "Live.");
  source.onerror = () => say(at("state"), "No connection; trying again.");
})();
