// Nothing here is needed: buttons that copy commands, and the filter of a mirror, which nobody else could answer.
"use strict";

function copyButtons() {
  if (!navigator.clipboard) return;
  for (const block of document.querySelectorAll("pre.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${block.getAttribute("aria-label")}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    const frame = document.createElement("div");
    frame.className = "copied";
    block.replaceWith(frame);
    frame.append(block, button);
  }
}

// A mirror that was exported without its URL learns it here.
function ownAddress() {
  const root = document.body.dataset.root;
  if (root === undefined || !location.protocol.startsWith("http")) return;
  const own = new URL(root || ".", location.href).href.replace(/\/$/, "");
  for (const code of document.querySelectorAll("code")) {
    if (code.textContent.includes("https://THIS-MIRROR")) {
      code.textContent = code.textContent.replaceAll("https://THIS-MIRROR", own);
    }
  }
}

const SHOWN = 100;

function entry(card, root) {
  const item = document.createElement("li");
  const head = document.createElement("h3");
  const link = document.createElement("a");
  link.href = `${root}experts/${encodeURIComponent(card.id)}/index.html`;
  link.textContent = card.title;
  head.append(link);
  const facts = document.createElement("p");
  facts.className = "facts-line";
  facts.textContent = [`${card.id} ${card.version}`, card.publisher, card.license, card.languages.join(", "),
    card.signed ? "signed" : "not signed"].join(" · ");
  const summary = document.createElement("p");
  summary.textContent = card.summary;
  item.className = "item";
  item.append(head, facts, summary);
  return item;
}

function filter() {
  const form = document.querySelector("form.filter");
  if (!form || !location.protocol.startsWith("http")) return;
  form.hidden = false;
  const field = form.querySelector("input");
  const list = document.querySelector("[data-list]");
  const count = document.querySelector("[data-count]");
  const pager = document.querySelector(".pager");
  const [before, said] = [Array.from(list.childNodes), Array.from(count.childNodes)];
  let cards;
  // The index names shards beside it; browsers keep them, since what a digest names never changes.
  async function cardsOf(place) {
    const read = async (url) => (await fetch(url)).json();
    const folder = new URL("index/", new URL(place, location.href));
    const waiting = (await read(place)).shards.map((one) => new URL(`${one.name}.${one.sha256}.json`, folder).href);
    const all = [];
    const work = async () => { for (let url; (url = waiting.shift()); ) all.push(...(await read(url)).experts); };
    await Promise.all(Array.from({ length: 8 }, work));
    return all.sort((one, other) => (one.id < other.id ? -1 : 1));
  }
  async function apply() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (pager) pager.hidden = words.length > 0;
    if (!words.length) {
      list.replaceChildren(...before);
      count.replaceChildren(...said);
      return;
    }
    cards ??= cardsOf(form.dataset.index).then((all) => all.map((card) => ({
      card, text: [card.title, card.id, card.summary, card.publisher, card.license, card.base.name, card.base.digest,
        ...card.domains, ...card.languages].join(" ").toLowerCase(),
    })));
    const found = (await cards).filter((one) => words.every((word) => one.text.includes(word)));
    list.start = 1;
    list.replaceChildren(...found.slice(0, SHOWN).map((one) => entry(one.card, document.body.dataset.root)));
    count.textContent = `${found.length} expert${found.length === 1 ? "" : "s"}` +
      (found.length > SHOWN ? `, the first ${SHOWN} are shown.` : ".");
  }
  let waiting;
  field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 150); });
  form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
  const fromHash = () => { field.value = decodeURIComponent(location.hash.slice(1)); apply(); };
  addEventListener("hashchange", fromHash);
  if (location.hash.length > 1) fromHash();
}

ownAddress();
copyButtons();
filter();
