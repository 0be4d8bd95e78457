/// What draws the charts of a report, in the reader's browser and from the page's own data alone.
enum ReportScript {
  static let text = #"""
    "use strict";
    (() => {
      const charts = JSON.parse(document.getElementById("data").textContent);
      const place = document.getElementById("charts");
      const NS = "http://www.w3.org/2000/svg";
      const colour = (line) => `var(--c${line.colour % COLOURS})`;

      const node = (name, attributes = {}, parent = null, text = null) => {
        const made = document.createElementNS(NS, name);
        for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
        if (text !== null) made.textContent = text;
        if (parent) parent.appendChild(made);
        return made;
      };
      const element = (name, className, parent, text = null) => {
        const made = document.createElement(name);
        if (className) made.className = className;
        if (text !== null) made.textContent = text;
        if (parent) parent.appendChild(made);
        return made;
      };

      // Numbers as people read them.
      const digits = (value, most) => {
        if (value === 0) return "0";
        const size = Math.abs(value);
        if (size < 1e-3 || size >= 1e6) return Number(value.toPrecision(most)).toExponential().replace("e+", "e");
        return Number(value.toPrecision(most)).toLocaleString("en-US", { maximumFractionDigits: 6 });
      };
      const scaled = (value, base, names, most) => {
        let place = 0;
        while (Math.abs(value) >= base && place < names.length - 1) { value /= base; place++; }
        return `${digits(value, most)} ${names[place]}`;
      };
      const text = (value, unit, most = 4) => {
        if (unit === "bytes") return scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], most);
        if (unit === "share") return `${digits(value * 100, most)} %`;
        if (unit === "celsius") return `${digits(value, most)} °C`;
        if (unit === "joules") return scaled(value, 1000, ["J", "kJ", "MJ", "GJ"], most);
        if (unit === "rate") return `${digits(value, most)}/s`;
        return digits(value, most);
      };

      // Round heights and steps for the axes.
      const ticks = (low, high, about, unit) => {
        const factor = unit === "bytes" ? 1024 ** Math.floor(Math.log(Math.max(high, 1)) / Math.log(1024)) : 1;
        const raw = Math.max((high - low) / factor / about, 1e-12);
        const power = 10 ** Math.floor(Math.log10(raw));
        const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw) * factor;
        const found = [];
        for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(at + 0);
        return found;
      };
      const logTicks = (low, high) => {
        const found = [];
        for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
          for (const m of [1, 2, 5]) { const at = m * 10 ** power; if (at >= low && at <= high) found.push(at); }
        return found.length > 1 ? found : [low, high];
      };
      const nearest = (xs, x) => {
        let low = 0, high = xs.length - 1;
        while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] < x) low = middle; else high = middle; }
        return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
      };

      const draw = (chart) => {
        const figure = element("figure", [chart.wide ? "wide" : "", chart.stack ? "stack" : ""].join(" ").trim(), place);
        const caption = element("figcaption", "", figure);
        element("h3", "", caption, chart.title);
        let isLog = false;
        const positive = chart.lines.every((line) => line.y.every((y) => y > 0));
        if (chart.log && positive) {
          const scale = element("button", "scale", caption, "log scale");
          scale.type = "button";
          scale.addEventListener("click", () => {
            isLog = !isLog;
            scale.textContent = isLog ? "linear scale" : "log scale";
            paint();
          });
        }
        const svg = node("svg", { role: "img", "aria-label": chart.title }, figure);
        const hidden = new Set();
        const names = [...new Set(chart.lines.map((line) => line.name).filter((name) => name))];
        // A faint line goes with the thick one of its colour, which comes next.
        chart.lines.forEach((line, at) => { line.group = line.name || chart.lines[at + 1]?.name || ""; });
        if (names.length > 1 || (names.length === 1 && chart.stack)) {
          const legend = element("div", "legend", figure);
          for (const name of names) {
            const line = chart.lines.find((one) => one.name === name);
            const button = element("button", "", legend);
            button.type = "button";
            button.setAttribute("aria-pressed", "true");
            const key = element("span", "key", button);
            if (line.style === "dash") {
              key.style.background = `repeating-linear-gradient(90deg, ${colour(line)} 0 4px, transparent 4px 6px)`;
            } else if (line.style === "dots") {
              key.style.background = colour(line);
              key.style.cssText += "width:8px;height:8px;border-radius:50%";
            } else key.style.background = colour(line);
            button.append(name);
            button.addEventListener("click", () => {
              if (!hidden.delete(name)) hidden.add(name);
              button.setAttribute("aria-pressed", String(!hidden.has(name)));
              paint();
            });
          }
        }
        if (chart.note) element("p", "note", figure, chart.note);
        const tip = element("div", "tip", figure);
        tip.hidden = true;
        let view = null;

        const paint = () => {
          const width = Math.max(240, svg.clientWidth || figure.clientWidth - 30);
          const height = chart.wide ? Math.min(340, Math.max(230, width * 0.42)) : 190;
          const lines = chart.lines.filter((line) => line.y.length && !hidden.has(line.group));
          svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
          svg.setAttribute("height", height);
          svg.replaceChildren();
          tip.hidden = true;
          view = null;
          if (!lines.length) return;
          let tops = null;
          if (chart.stack) {
            tops = [];
            lines.forEach((line, at) => { tops.push(line.y.map((y, i) => y + (at ? tops[at - 1][i] : 0))); });
          }
          const heights = chart.stack ? [tops[tops.length - 1]] : lines.map((line) => line.y);
          let low = Infinity, high = -Infinity, first = Infinity, last = -Infinity;
          for (const ys of heights) for (const y of ys) { if (y < low) low = y; if (y > high) high = y; }
          for (const line of lines) { first = Math.min(first, line.x[0]); last = Math.max(last, line.x[line.x.length - 1]); }
          if (chart.zero || chart.stack) low = Math.min(0, low);
          for (const mark of chart.marks) {
            // A budget that is far away would flatten what is to be seen.
            if (mark.y <= high * 3) high = Math.max(high, mark.y * 1.02);
          }
          if (high === low) { const pad = Math.abs(high) * 0.1 || 1; high += pad; if (!chart.zero) low -= pad; }
          else if (!isLog) { high += (high - low) * 0.04; if (low !== 0) low -= (high - low) * 0.04; }
          if (isLog) { low *= 0.95; high *= 1.05; }
          if (first === last) { first -= 1; last += 1; }
          const marks = isLog ? logTicks(low, high) : ticks(low, high, height > 220 ? 6 : 4, chart.unit);
          const labels = marks.map((at) => text(at, chart.unit));
          const left = Math.max(...labels.map((label) => label.length)) * 6.3 + 10, right = 12, top = 12, bottom = 24;
          const across = (x) => left + (x - first) / (last - first) * (width - left - right);
          const lift = isLog
            ? (y) => (Math.log(y) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (y) => (y - low) / (high - low);
          const up = (y) => height - bottom - lift(y) * (height - top - bottom);

          marks.forEach((at, place) => {
            node("line", { x1: left, x2: width - right, y1: up(at), y2: up(at), stroke: "var(--grid)" }, svg);
            node("text", { x: left - 7, y: up(at) + 4, "text-anchor": "end" }, svg, labels[place]);
          });
          const steps = ticks(first, last, Math.max(2, Math.min(8, Math.floor(width / 90))), "number")
            .filter((at) => Number.isInteger(at));
          for (const at of steps) {
            const label = at.toLocaleString("en-US");
            const half = label.length * 3.2;
            node("text", { x: Math.min(across(at), width - half), y: height - 7, "text-anchor": "middle" }, svg, label);
          }
          for (const [from, to] of chart.bands) {
            const start = across(Math.max(first, from)), end = across(Math.min(last, to));
            node("rect", { x: start, y: top, width: Math.max(1.5, end - start), height: height - top - bottom,
              fill: "var(--band)" }, svg);
          }
          const route = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${across(x).toFixed(1)} ${up(ys[i]).toFixed(1)}`).join("");
          lines.forEach((line, at) => {
            if (chart.stack) {
              const below = at ? tops[at - 1] : line.y.map(() => 0);
              const back = line.x.map((x, i) => `L${across(x).toFixed(1)} ${up(below[i]).toFixed(1)}`).reverse().join("");
              node("path", { d: `${route(line.x, tops[at])}${back}Z`, fill: colour(line), "fill-opacity": 0.82 }, svg);
              return;
            }
            const style = { fill: "none", stroke: colour(line), "stroke-linejoin": "round",
              "stroke-width": line.style === "faint" ? 1 : 2 };
            if (line.style === "faint") style["stroke-opacity"] = 0.32;
            if (line.style === "dash") style["stroke-dasharray"] = "5 4";
            if (line.style === "dots") { style["stroke-width"] = 1.4; style["stroke-dasharray"] = "4 3"; }
            node("path", { d: route(line.x, line.y), ...style }, svg);
            if (line.style === "dots" && line.x.length <= 80 || line.x.length === 1)
              line.x.forEach((x, i) => node("circle", { cx: across(x), cy: up(line.y[i]), r: 3.4, fill: colour(line),
                stroke: "var(--card)", "stroke-width": 1.2 }, svg));
          });
          for (const mark of chart.marks) {
            const label = `${mark.name} ${text(mark.y, chart.unit)}`;
            if (mark.y > high) {
              node("text", { x: width - right, y: top + 10, "text-anchor": "end" }, svg, `${label} ↑`);
              continue;
            }
            node("line", { x1: left, x2: width - right, y1: up(mark.y), y2: up(mark.y), stroke: "var(--mark)",
              "stroke-dasharray": "6 4", "stroke-width": 1.3 }, svg);
            const y = up(mark.y) < top + 14 ? up(mark.y) + 13 : up(mark.y) - 5;
            node("text", { x: width - right, y, "text-anchor": "end", style: "fill:var(--ink);paint-order:stroke;"
              + "stroke:var(--card);stroke-width:3px" }, svg, label);
          }
          const cursor = node("line", { y1: top, y2: height - bottom, stroke: "var(--soft)", "stroke-width": 1,
            visibility: "hidden" }, svg);
          view = { lines, first, last, left, right, width, across, cursor };
        };

        const point = (event) => {
          if (!view) return;
          const box = svg.getBoundingClientRect();
          const x = (event.clientX - box.left) / box.width * view.width;
          const wanted = view.first + (x - view.left) / (view.width - view.left - view.right) * (view.last - view.first);
          const main = view.lines.filter((line) => line.style !== "faint");
          let step = null;
          for (const line of main) {
            const near = line.x[nearest(line.x, wanted)];
            if (step === null || Math.abs(near - wanted) < Math.abs(step - wanted)) step = near;
          }
          if (step === null) return;
          const at = view.across(step);
          view.cursor.setAttribute("x1", at);
          view.cursor.setAttribute("x2", at);
          view.cursor.setAttribute("visibility", "visible");
          tip.replaceChildren();
          element("div", "", tip).append(element("strong", "", null, `step ${step.toLocaleString("en-US")}`));
          const rows = chart.stack ? [...view.lines].reverse() : view.lines;
          let sum = 0;
          for (const line of rows) {
            const place = nearest(line.x, step);
            // Lines with few points, such as evaluations, say nothing of steps far from them.
            const gap = (view.last - view.first) / 40;
            if (line.style === "faint" || Math.abs(line.x[place] - step) > Math.max(gap, 1)) continue;
            sum += line.y[place];
            const row = element("div", "", tip);
            const name = element("span", "", row);
            element("span", "key", name).style.background = colour(line);
            name.append(line.name || chart.title);
            element("span", "", row, text(line.y[place], chart.unit));
          }
          if (chart.stack) {
            const row = element("div", "", tip);
            element("span", "", row, "all");
            element("span", "", row, text(sum, chart.unit));
          }
          tip.hidden = false;
          const offset = box.left - figure.getBoundingClientRect().left;
          const x0 = offset + at / view.width * box.width;
          tip.style.top = `${box.top - figure.getBoundingClientRect().top + 14}px`;
          const room = figure.clientWidth - x0 - 14;
          tip.style.left = `${tip.offsetWidth <= room ? x0 + 10 : Math.max(4, x0 - tip.offsetWidth - 10)}px`;
        };
        svg.addEventListener("pointermove", point);
        svg.addEventListener("pointerdown", point);
        svg.addEventListener("pointerleave", () => {
          tip.hidden = true;
          if (view) view.cursor.setAttribute("visibility", "hidden");
        });
        paint();
        let width = figure.clientWidth;
        // Painting changes the height, which the observer must not see within one frame.
        new ResizeObserver(() => {
          if (figure.clientWidth === width) return;
          width = figure.clientWidth;
          setTimeout(paint, 0);
        }).observe(figure);
      };
      charts.forEach(draw);
    })();
    """#
}
