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
