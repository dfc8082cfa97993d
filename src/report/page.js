// The page reads without this: it remembers the theme, filters the claims, and sorts tables by the column whose title is
// pressed.
(() => {
  const themes = document.getElementsByName("theme");
  try {
    const kept = localStorage.getItem("slidebench-theme");
    for (const theme of themes) {
      if (theme.value === kept) theme.checked = true;
      theme.addEventListener("change", () => localStorage.setItem("slidebench-theme", theme.value));
    }
  } catch { /* no storage from a file in some browsers: the choice lasts as long as the page */ }

  // Claims by verdict, a button for each that occurs, and by text.
  const claims = document.getElementById("claims-table");
  if (claims) {
    const rows = [...claims.tBodies[0].rows].map(row => {
      return { row, verdict: row.querySelector(".badge").textContent, text: row.textContent.toLowerCase() };
    });
    const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
    const filter = make("div", { className: "filter" });
    filter.setAttribute("role", "group");
    filter.setAttribute("aria-label", "Claims shown");
    const search = make("input", { type: "search", placeholder: "Search claims" });
    search.setAttribute("aria-label", "Search claims");
    const shown = make("span", { className: "shown" });
    shown.setAttribute("role", "status");
    const order = ["holds", "holds in part", "does not hold", "not measured", "not measurable here"];
    let chosen = "all";
    const show = () => {
      const words = search.value.toLowerCase().split(/\s+/);
      const wanted = one => (chosen === "all" || one.verdict === chosen) && words.every(word => one.text.includes(word));
      for (const one of rows) one.row.hidden = !wanted(one);
      const count = rows.filter(wanted).length;
      shown.textContent = count === rows.length ? "" : `${count} of ${rows.length}`;
    };
    for (const name of ["all", ...order]) {
      const count = rows.filter(one => name === "all" || one.verdict === name).length;
      if (!count) continue;
      const button = make("button", { type: "button", textContent: `${name} (${count})` });
      button.setAttribute("aria-pressed", name === "all");
      button.addEventListener("click", () => {
        for (const other of filter.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
        chosen = name;
        show();
      });
      filter.append(button);
    }
    search.addEventListener("input", show);
    filter.append(search, shown);
    claims.parentElement.before(filter);
  }

  const number = text => {
    const found = text.replace(/,/g, "").match(/^-?\d+(\.\d+)?(e-?\d+)?/);
    return found ? Number(found[0]) : Infinity;
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    if (body.rows.length < 3 || table.id === "machine") continue;
    const titles = [...table.tHead.rows[0].cells];
    titles.forEach((title, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...title.childNodes);
      title.append(button);
      button.addEventListener("click", () => {
        const down = title.getAttribute("aria-sort") === "ascending";
        titles.forEach(other => other.removeAttribute("aria-sort"));
        title.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = title.classList.contains("n");
        const key = row => row.cells[column].textContent.trim();
        const order = (a, b) => numeric ? number(key(a)) - number(key(b)) || 0 : key(a).localeCompare(key(b));
        body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
      });
    });
  }
})();
