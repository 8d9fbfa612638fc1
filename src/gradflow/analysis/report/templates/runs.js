// The table of all runs: sorted by a column, filtered by words, drawn beside as one mark per run.
{
  const table = document.getElementById("runs-table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const keys = heads.map((head) => head.dataset.key);
  const runs = [...body.rows].map((row) => {
    const texts = [...row.cells].map((cell) => cell.textContent.trim());
    return { row, texts, all: texts.join(" ").toLowerCase(), id: row.dataset.id };
  });
  const numeric = heads.map((head) => head.dataset.kind === "number");
  const value = (run, i) => (numeric[i] ? parseFloat(run.texts[i]) : run.texts[i]);
  const filter = document.getElementById("filter");
  const plot = document.getElementById("runs-plot");
  const axes = ["x", "y"].map((name) => document.getElementById(`runs-${name}`));
  let shown = runs;

  function compare(a, b) {
    if (typeof a === "string") return a.localeCompare(b);
    return Number.isNaN(a) - Number.isNaN(b) || a - b || 0;  // what has no number comes last
  }

  heads.forEach((head, i) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    runs.sort((a, b) => (down ? -1 : 1) * compare(value(a, i), value(b, i)));
    body.append(...runs.map((run) => run.row));
  }));

  // Every word must hold: "none", "depth=56", "rate>0.01".
  function holds(run, word) {
    const [, name, sign, wanted] = word.match(/^([^<>=]+)([<>=])(.+)$/) || [];
    const i = name === undefined ? -1 : heads.findIndex((head, j) =>
      [keys[j], head.textContent.trim().toLowerCase().replaceAll(" ", "_")].some((own) => own === name || own.endsWith(`_${name}`)));
    if (i < 0) return run.all.includes(word);
    const own = value(run, i), number = parseFloat(wanted);
    if (sign === "=") return numeric[i] ? own === number : run.texts[i].toLowerCase() === wanted;
    return sign === "<" ? own < number : own > number;
  }

  function apply() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = runs.filter((run) => words.every((word) => holds(run, word)));
    const kept = new Set(shown);
    runs.forEach((run) => { run.row.hidden = !kept.has(run); });
    document.getElementById("shown").value = `${shown.length} of ${runs.length} runs`;
    draw();
  }

  function axisOf(i) {
    const label = heads[i].textContent.trim();
    const values = runs.map((run) => value(run, i));
    if (!numeric[i]) {
      const names = [...new Set(values)].sort();
      return { axis: { label, names, range: [-0.5, names.length - 0.5] }, at: (run) => names.indexOf(value(run, i)) };
    }
    const known = values.filter(Number.isFinite);
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const log = least > 0 && most > 50 * least;
    const at = (run) => (log ? Math.log10(value(run, i)) : value(run, i));
    const [low, high] = known.length ? (log ? [Math.log10(least), Math.log10(most)] : [least, most]) : [0, 1];
    const room = 0.06 * (high - low) || 0.5;
    // A few values that were chosen are its ticks: depths, rates.
    const levels = [...new Set(known)].sort((a, b) => a - b);
    const ticks = levels.length <= 8 ? levels.map((level) => [log ? Math.log10(level) : level, shortNumber(level)]) : null;
    return { axis: { label, log, ticks, whole: known.every(Number.isInteger), range: [low - room, high + room] }, at };
  }

  function draw() {
    if (!plot) return;
    const [x, y] = axes.map((select) => axisOf(Number(select.value)));
    const twin = keys.indexOf("network_skip");
    const marks = shown.map((run, k) => {
      const name = twin < 0 ? "plain" : run.texts[twin];
      const aside = x.axis.names ? 0.3 * (((k * 0.618) % 1) - 0.5) : 0;  // marks of one name, apart
      const title = heads.map((head, i) => `${head.textContent.trim()}: ${run.texts[i]}`).join("\n");
      const cls = `${name}${run.row.classList.contains("chosen") ? " chosen" : ""}`;
      return { cls, x: x.at(run) + aside, y: y.at(run), shape: name === "residual" ? "square" : "circle", id: run.id, title };
    });
    chart(plot, { x: x.axis, y: y.axis, marks: marks.filter((mark) => Number.isFinite(mark.x)), onMark: (id) => choose(id, true) });
  }

  function choose(id, scroll) {
    const run = runs.find((one) => one.id === id);
    runs.forEach((one) => one.row.classList.toggle("chosen", one === run));
    if (scroll) run.row.scrollIntoView({ block: "nearest" });
    draw();
    const detail = Object.fromEntries(keys.map((key, i) => [key, run.texts[i]]));
    dispatchEvent(new CustomEvent("run-chosen", { detail }));
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a")) choose(row.dataset.id, false);
  });
  filter.addEventListener("input", apply);
  axes.forEach((select) => select?.addEventListener("input", draw));
  if (plot) new ResizeObserver(() => draw()).observe(plot);
  apply();
}
