// The page reads without this: it remembers the theme and sorts tables by the column whose title is pressed.
(() => {
  const themes = document.getElementsByName("theme");
  try {
    const kept = localStorage.getItem("slidebench-theme");
    for (const theme of themes) {
      if (theme.value === kept) theme.checked = true;
      theme.addEventListener("change", () => localStorage.setItem("slidebench-theme", theme.value));
    }
  } catch { /* no storage from a file in some browsers: the choice lasts as long as the page */ }

  // Claims by verdict: a button for each that occurs.
  const claims = document.getElementById("claims-table");
  if (claims) {
    const rows = [...claims.tBodies[0].rows];
    const verdict = row => row.querySelector(".badge").textContent;
    const filter = document.createElement("div");
    filter.className = "filter";
    filter.setAttribute("role", "group");
    filter.setAttribute("aria-label", "Claims shown");
    for (const name of ["all", "holds", "holds in part", "does not hold", "not measured"]) {
      const shown = row => name === "all" || verdict(row) === name;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${name} (${rows.filter(shown).length})`;
      button.setAttribute("aria-pressed", name === "all");
      button.addEventListener("click", () => {
        for (const other of filter.children) other.setAttribute("aria-pressed", other === button);
        for (const row of rows) row.hidden = !shown(row);
      });
      filter.append(button);
    }
    claims.parentElement.before(filter);
  }

  const number = text => {
    const found = text.replace(/,/g, "").match(/^-?\d+(\.\d+)?/);
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
