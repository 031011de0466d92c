"use strict";
// Sorting, searching and the cards of the report's page. All text is set as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const words = data.words;
const language = document.documentElement.lang;
const collator = new Intl.Collator(language, { numeric: true, sensitivity: "base" });
const numbers = new Intl.NumberFormat(language);
const FIRST = 50, MORE = 200;

// "ozturk" finds "Öztürk", and "istanbul" finds "İSTANBUL".
const fold = text => text.toLocaleLowerCase("tr").normalize("NFD").replace(/[\u0300-\u036f]/g, "").replace(/ı/g, "i");
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function element(name, text, look) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (look) made.className = look;
  return made;
}

for (const section of document.querySelectorAll(".list")) {
  const body = section.querySelector("tbody");
  const rows = [...body.rows];
  const order = new Map(rows.map((row, at) => [row, at]));
  const texts = new Map();
  const search = section.querySelector("input");
  const said = section.querySelector("output");
  const more = section.querySelector("button.more");
  let sorted = rows, most = FIRST;

  function show() {
    const wanted = fold(search.value.trim()).split(/\s+/).filter(Boolean);
    let found = 0, shown = 0;
    for (const row of sorted) {
      if (wanted.length && !texts.has(row)) texts.set(row, fold(row.textContent));
      const fits = wanted.every(word => texts.get(row).includes(word));
      found += fits;
      row.hidden = !(fits && shown < most);
      shown += !row.hidden;
    }
    said.textContent = found ? fill(words.shown, { shown: numbers.format(shown), all: numbers.format(found) })
      : rows.length ? words.no_match : words.no_rows;
    more.hidden = shown === found;
  }

  function sort(at, descending) {
    const cells = new Map(rows.map(row => [row, row.cells[at].dataset.v ?? row.cells[at].textContent]));
    const isNumber = section.querySelectorAll("thead th")[at].dataset.n !== undefined;
    sorted = [...rows].sort((one, other) => {
      const a = cells.get(one), b = cells.get(other);
      if (a === "" || b === "") return (a === "") - (b === "") || order.get(one) - order.get(other);
      const by = isNumber ? a - b : collator.compare(a, b);
      return (descending ? -by : by) || order.get(one) - order.get(other);
    });
    body.append(...sorted);
    show();
  }

  section.querySelectorAll("thead th").forEach((head, at) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      section.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(at, descending);
    });
  });
  search.addEventListener("input", () => { most = FIRST; show(); });
  more.addEventListener("click", () => { most += MORE; show(); });
  show();
}

const dialog = document.querySelector("dialog");

function table(heads, lines) {
  const made = element("table"), top = made.createTHead().insertRow(), body = made.createTBody();
  for (const head of heads) { const cell = element("th", head); cell.scope = "col"; top.append(cell); }
  for (const line of lines) {
    const row = body.insertRow();
    for (const text of line) row.append(element("td", text));
  }
  return made;
}

function open(key) {
  const card = data.cards[key];
  dialog.querySelector("h2").textContent = card.name;
  const body = dialog.querySelector(".body");
  body.replaceChildren();
  const facts = element("dl");
  for (const [name, text] of card.facts) facts.append(element("dt", name), element("dd", text));
  body.append(facts);
  if (card.reasons.length) {
    body.append(element("h3", words.evidence));
    body.append(table([words.why, words.points, ""],
      card.reasons.map(([code, points, seen]) => [data.reasons[code], points ? (points > 0 ? "+" : "") + points : "", seen])));
  }
  if (card.referrals.length) {
    body.append(element("h3", words.referrals));
    body.append(table(data.heads, card.referrals));
    const link = element("a", words.open);
    link.href = data.link; link.target = "_blank"; link.rel = "noreferrer noopener";
    body.append(link);
  }
  if (key.startsWith("d:")) {
    body.append(element("h3", words.history));
    if (card.history.length) body.append(table([words.when, words.change], card.history));
    else body.append(element("p", words.no_history, "note"));
  }
  dialog.showModal();
  body.scrollTop = 0;
}

document.addEventListener("click", event => {
  const button = event.target.closest("button.card");
  if (button) open(button.dataset.key);
  else if (event.target === dialog || event.target.closest("dialog .close")) dialog.close();
});
