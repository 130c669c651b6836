// Charts with read-outs and series that can be hidden, in place of the SVG on a screen.
"use strict";
function nearestValue(plot, series, closest, x) {
  const xs = plot.data[0], ys = plot.data[series];
  if (series === 0 || ys[closest] != null) return closest;
  let before = closest, after = closest;
  while (before >= 0 && ys[before] == null) before--;
  while (after < ys.length && ys[after] == null) after++;
  if (before < 0) return after < ys.length ? after : closest;
  if (after >= ys.length) return before;
  return x - xs[before] < xs[after] - x ? before : after;
}
function short(value, digits = 5) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-4))
    return value.toExponential(digits - 1).replace(/\.?0*e\+?/, "e");
  return String(Number(value.toPrecision(digits)));
}
// uPlot keeps one point for an x: points above one another get an x of their own.
function apart(xs, axis) {
  const step = 1e-9 * (axis.range[1] - axis.range[0]);
  let equal = 0;
  return xs.map((x, k) => {
    equal = k > 0 && x === xs[k - 1] ? equal + 1 : 0;
    return axis.log ? x * (1 + 1e-9 * equal) : x + step * equal;
  });
}
function drawIntervals(plot, chart) {
  const context = plot.ctx;
  context.setLineDash([]);
  chart.series.forEach((series, number) => {
    if (!plot.series[number + 1].show) return;
    series.intervals.forEach(([low, high], k) => {
      const x = plot.valToPos(series.x[k], "x", true);
      context.strokeStyle = series.colour;
      context.lineWidth = 1.5 * devicePixelRatio;
      context.beginPath();
      context.moveTo(x, plot.valToPos(low, "y", true));
      context.lineTo(x, plot.valToPos(high, "y", true));
      context.stroke();
    });
  });
  const { left, top, width } = plot.bbox;
  context.fillStyle = context.strokeStyle = "#555";
  context.textAlign = "left";
  context.lineWidth = devicePixelRatio;
  for (const [name, value] of Object.entries(chart.levels)) {
    const y = plot.valToPos(value, "y", true);
    if (y < top || y > top + plot.bbox.height) continue;
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(left + width, y);
    context.stroke();
    context.fillText(name, left + 4, y - 4 * devicePixelRatio);
  }
}
function widthOfTicks(plot, texts) {
  return 30 + 7 * Math.max(3, ...(texts ?? []).map((text) => (text ?? "").length));
}
function axis(description, size) {
  return {
    label: description.label,
    font: "12px system-ui, sans-serif",
    labelFont: "13px system-ui, sans-serif",
    stroke: "#333",
    grid: { stroke: "#e4e4e4", width: 1 },
    size,
    ...(description.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5] } : {}),
    ...(description.ticks ? { splits: description.ticks, filter: (u, s) => s } : {}),
    values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : short(tick, 6))),
  };
}
document.querySelectorAll("script.chart").forEach((script) => {
  const figure = script.parentElement, chart = JSON.parse(script.textContent);
  const box = document.createElement("div");
  box.className = "live";
  const height = chart.shape ? chart.shape.height : 330;
  if (chart.shape) box.style.maxWidth = `${chart.shape.width}px`;
  figure.insertBefore(box, figure.firstChild);
  const data = uPlot.join(chart.series.map((one) => [apart(one.x, chart.x), one.y]));
  const filled = (one) => one.kind === "points" || (one.kind === "line" && one.x.length <= 20);
  const plot = new uPlot({
    width: box.clientWidth, height, ms: 1,
    cursor: { dataIdx: nearestValue, drag: { x: true, y: false } },
    scales: {
      x: { time: false, distr: chart.x.log ? 3 : 1,
           range: (u, low, high) =>
             u.data[0][0] === low && u.data[0][u.data[0].length - 1] === high
               ? chart.x.range : [low, high] },
      y: { distr: chart.y.log ? 3 : 1, range: chart.y.range },
    },
    axes: [axis(chart.x, 48), axis(chart.y, widthOfTicks)],
    legend: { markers: { width: 3,
      dash: (u, i) => (chart.series[i - 1].dash.length ? "dashed" : "solid") } },
    series: [
      { label: chart.x.label, value: (u, value) => short(value) },
      ...chart.series.map((one) => ({
        label: one.name, stroke: one.colour, dash: one.dash,
        width: { points: 0, thin: 1, guide: 1 }[one.kind] ?? 2,
        alpha: one.kind === "thin" ? 0.55 : 1,
        spanGaps: true,
        points: { show: filled(one), size: 7, fill: one.hollow ? "#fff" : one.colour },
        value: (u, value, series, index) => {
          if (value == null || index == null) return "–";
          const x = u.data[0][index], cursor = u.data[0][u.legend.idxs ? u.legend.idxs[0] : index];
          return short(value) + (short(x) === short(cursor) ? "" : " at " + short(x));
        },
      })),
    ],
    hooks: {
      draw: [(u) => drawIntervals(u, chart)],
      setSeries: [(u, changed, options) => {
        if (changed == null || options.show == null) return;
        chart.series.forEach((one, k) => {
          const same = one.name === chart.series[changed - 1].name;
          if (same && u.series[k + 1].show !== options.show)
            u.setSeries(k + 1, { show: options.show });
        });
      }],
    },
  }, data, box);
  box.querySelectorAll(".u-legend .u-series").forEach((row, k) => {
    if (k > 0 && !chart.series[k - 1].legend) row.style.display = "none";
  });
  figure.classList.add("enhanced");
  new ResizeObserver(() => {
    if (box.clientWidth) plot.setSize({ width: box.clientWidth, height });
  }).observe(figure);
});
