
(() => {
  "use strict";
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  // In names: control characters, and marks that turn the direction of the text around them.
  const steering = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

  // Theme: the choice outlives the page where the browser lets it.
  const modes = ["auto", "light", "dark"];
  const theme = at("theme");
  let mode = "auto";
  try {
    mode = localStorage.getItem("cbfit-theme") || "auto";
  } catch {}
  const applyTheme = () => {
    if (mode === "light" || mode === "dark") root.dataset.theme = mode;
    else delete root.dataset.theme;
    theme.textContent = "Theme: " + mode;
  };
  theme.addEventListener("click", () => {
    mode = modes[(modes.indexOf(mode) + 1) % modes.length];
    try {
      localStorage.setItem("cbfit-theme", mode);
    } catch {}
    applyTheme();
  });
  if (!modes.includes(mode)) mode = "auto";
  applyTheme();
  theme.hidden = false;

  // A title element is also a tooltip of the whole drawing, which would cover the tips of its marks.
  for (const svg of document.querySelectorAll("svg[role=img]")) {
    const title = svg.querySelector("title");
    svg.removeAttribute("aria-labelledby");
    svg.setAttribute("aria-label", title.textContent);
    title.remove();
  }

  // Tips of marks.
  const tip = at("tip");
  const showTip = (event) => {
    const mark = event.target.closest && event.target.closest("[data-t]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.t;
    const box = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
    const above = event.clientY - box.height - 12;
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = (above < 8 ? event.clientY + 18 : above) + "px";
  };
  document.addEventListener("pointermove", showTip);
  document.addEventListener("pointerdown", showTip);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
  });

  // The table of classes.
  const source = at("classes");
  if (!source) return;
  const PAGE = 100;
  const table = at("table");
  const body = table.tBodies[0];
  const count = new Intl.NumberFormat("en-US");
  let data = null;
  let order = [];
  let shown = PAGE;
  let sort = { column: 0, up: false };

  const load = async () => {
    if (data) return;
    let text = source.textContent;
    if (source.dataset.form === "gzip") {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      text = await new Response(stream).text();
    }
    data = JSON.parse(text);
  };

  const cell = (kind, value) => {
    if (value === null) return "-";
    if (kind === "count") return count.format(value);
    const number = (Math.abs(value) / 1000).toFixed(3);
    if (kind === "share" || value === 0) return number;
    return (value < 0 ? "\u2212" : "+") + number;
  };

  const draw = () => {
    const rows = order.slice(0, shown).map((row) => {
      const tr = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = data.names[row].replace(steering, "\ufffd");
      tr.append(name);
      for (const column of data.columns) {
        const td = document.createElement("td");
        td.className = "n";
        td.textContent = cell(column.kind, column.values[row]);
        tr.append(td);
      }
      return tr;
    });
    body.replaceChildren(...rows);
    at("more-row").hidden = order.length <= shown;
    const all = count.format(data.names.length);
    at("status").textContent =
      count.format(rows.length) + " of " + count.format(order.length) + " classes shown" +
      (order.length < data.names.length ? ", " + all + " in all" : "");
  };

  const select = () => {
    const wanted = at("find").value.trim().toLowerCase();
    const band = at("band").value;
    const counts = data.columns[0].values;
    const bandOf = (n) => (n > 100 ? "0" : n >= 20 ? "1" : "2");
    order = [];
    data.names.forEach((name, row) => {
      const fits = !wanted || name.toLowerCase().includes(wanted);
      if (fits && (!band || bandOf(counts[row]) === band)) order.push(row);
    });
    const sign = sort.up ? 1 : -1;
    if (sort.column < 0) {
      const collator = new Intl.Collator("en", { numeric: true });
      order.sort((a, b) => sign * collator.compare(data.names[a], data.names[b]));
    } else {
      const values = data.columns[sort.column].values;
      // What does not exist comes last whichever way the rest runs.
      order.sort((a, b) => {
        const x = values[a], y = values[b];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (x - y) || a - b;
      });
    }
    draw();
  };

  const refresh = async () => {
    await load();
    shown = PAGE;
    select();
  };

  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const column = Number(button.dataset.column);
      sort = { column, up: sort.column === column ? !sort.up : column < 0 };
      for (const th of table.tHead.querySelectorAll("th")) th.setAttribute("aria-sort", "none");
      button.closest("th").setAttribute("aria-sort", sort.up ? "ascending" : "descending");
      refresh();
    });
  }
  at("find").addEventListener("input", refresh);
  at("band").addEventListener("change", refresh);
  at("more").addEventListener("click", async () => {
    await load();
    if (!order.length) select();
    shown += 10 * PAGE;
    draw();
  });
  at("save").addEventListener("click", async () => {
    await load();
    // A spreadsheet runs cells that begin like a formula.
    const quote = (text) => '"' + (/^[=+\-@\t\r]/.test(text) && isNaN(text) ? "'" : "") + text.replaceAll('"', '""') + '"';
    const lines = [["class", ...data.columns.map((c) => c.label)].map(quote).join(",")];
    data.names.forEach((name, row) => {
      const cells = data.columns.map((c) => {
        const value = c.values[row];
        return value === null ? "" : c.kind === "count" ? value : value / 1000;
      });
      lines.push([quote(name), ...cells].join(","));
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "classes.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  at("controls").hidden = false;
  at("more-row").hidden = body.rows.length < PAGE;
})();
