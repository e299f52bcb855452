"use strict";
// A network as a drawing, layer by layer, and as YAML.
const smallnets = {};

(() => {
  const { log10, max, min, round } = Math;

  // An HTML element. Children are elements or text: no text is ever read as markup.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  function drawn(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  // Three significant digits and a prefix: 512, 45.2 k, 1.23 M.
  function readable(value) {
    if (value == null) return "-";
    if (Math.abs(value) < 999.5) return Number.isInteger(value) ? String(value) : String(+value.toPrecision(3));
    for (const [prefix, scale] of [["k", 1e3], ["M", 1e6], ["G", 1e9], ["T", 1e12]])
      if (Math.abs(value) < 999.5 * scale || prefix === "T") {
        const scaled = value / scale;
        return `${scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0)} ${prefix}`;
      }
  }

  // A cost without its unit: a count with its prefix, any other with three significant digits.
  function readableCost(cost, value) {
    if (cost.is_count) return readable(value);
    return value < 999.5 ? value.toPrecision(3) : Math.round(value).toLocaleString("en");
  }

  const percent = (fraction) => (fraction == null ? "-" : `${(100 * fraction).toFixed(2)}%`);

  // The layers of a network as objects; `layers` is the model's table of all distinct ones.
  function layersOf(network, layers) {
    return network.layers.map((position) => {
      const [description, block, inChannels, outChannels, size, flops, params, inputs] = layers[position];
      return { description, block, inChannels, outChannels, size, flops, params, inputs };
    });
  }

  // YAML, for plain data without line breaks in keys: mappings and lists inside a line, as network files are written.
  const WORD = /^[a-z][a-z0-9_]*$/;
  const NOT_TEXT = new Set(["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"]);
  function inline(value) {
    if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
    if (value !== null && typeof value === "object")
      return `{${Object.entries(value).map(([key, inner]) => `${inline(key)}: ${inline(inner)}`).join(", ")}}`;
    if (typeof value === "number") return number(value);
    if (typeof value !== "string") return String(value);
    return WORD.test(value) && !NOT_TEXT.has(value) ? value : JSON.stringify(value);
  }

  // YAML 1.1 reads 1e-7 as a text: an exponent needs a point before it and a sign after it.
  function number(value) {
    const [digits, exponent] = String(value).split("e");
    if (exponent === undefined) return digits;
    return `${digits.includes(".") ? digits : `${digits}.0`}e${/^[+-]/.test(exponent) ? "" : "+"}${exponent}`;
  }

  function yaml(network, layers) {
    const described = network.description ?? describe(network, layers);
    const lines = [];
    for (const [key, value] of Object.entries(described))
      if (key === "layers" && Array.isArray(value)) {
        lines.push("layers:");
        for (const layer of value) lines.push(`  - ${inline(layer)}`);
      } else lines.push(`${inline(key)}: ${inline(value)}`);
    return `${lines.join("\n")}\n`;
  }

  function describe(network, layers) {
    const descriptions = layersOf(network, layers).map((layer) => layer.description);
    const { in_channels, num_classes, resolution } = network;
    return { in_channels, num_classes, resolution, layers: descriptions.slice(0, -1), head: descriptions.at(-1) };
  }

  const OWN_COLUMNS = new Set(["block", "channels", "stride", "inputs"]);

  // One row a layer: where its input comes from, its map, its name and options, and its share of the costs.
  function diagram(network, layers) {
    const rows = layersOf(network, layers);
    const [height, width] = network.resolution;
    const most = { flops: max(...rows.map((row) => row.flops), 1), params: max(...rows.map((row) => row.params), 1) };
    const total = { flops: sum(rows, "flops"), params: sum(rows, "params") };
    const widest = max(network.in_channels, ...rows.map((row) => row.outChannels));
    const list = make("ol", { class: "layers" });
    list.append(
      make("li", { class: "layer image" },
        slab(network.in_channels, [height, width], widest, height),
        make("div", { class: "what" }, make("b", {}, "image")),
        make("span", { class: "shape" }, shape(network.in_channels, [height, width]))),
    );
    rows.forEach((row, position) => {
      const options = Object.entries(row.description)
        .filter(([key]) => !(position < rows.length - 1 && OWN_COLUMNS.has(key)))
        .map(([key, value]) => `${key} ${typeof value === "string" ? value : inline(value)}`);
      if (row.description.stride > 1 && position < rows.length - 1) options.unshift(`stride ${row.description.stride}`);
      const reads = row.inputs.length === 1 && row.inputs[0] === -1 ? null : sources(row.inputs, position, rows);
      list.append(
        make("li", { class: "layer", "data-block": row.block },
          slab(row.outChannels, row.size, widest, height),
          make("div", { class: "what" },
            make("b", {}, row.block), " ",
            make("span", { class: "options" }, options.join(" · ")),
            reads && make("span", { class: "reads" }, reads)),
          make("span", { class: "shape" }, shape(row.outChannels, row.size)),
          make("div", { class: "bars" }, bar(row, "flops", most, total), bar(row, "params", most, total))),
      );
    });
    return make("div", { class: "diagram" },
      make("p", { class: "keys" },
        make("span", { class: "key flops" }, `FLOPs, ${readable(total.flops)} in all`),
        make("span", { class: "key params" }, `parameters, ${readable(total.params)} in all`)),
      list);
  }

  const sum = (rows, key) => rows.reduce((all, row) => all + row[key], 0);
  const shape = (channels, [height, width]) => `${channels} × ${height} × ${width}`;

  function sources(inputs, position, rows) {
    const names = inputs.map((input) => {
      const source = position + input;
      return source < 0 ? "the image" : `layer ${source + 1}, ${rows[source].block}`;
    });
    return `reads ${names.join(" and ")}`;
  }

  // A map as a block: as high as its rows, as wide as its channels, on scales that keep small ones visible.
  function slab(channels, [height], widest, highest) {
    const svg = drawn("svg", { viewBox: "0 0 40 28", "aria-hidden": "true", class: "slab" });
    const w = 4 + 34 * (log10(1 + channels) / log10(1 + widest));
    const h = max(3, 26 * min(1, height / highest));
    svg.append(drawn("rect", { x: (40 - w) / 2, y: (28 - h) / 2, width: w, height: h, rx: 2 }));
    return svg;
  }

  function bar(row, key, most, total) {
    const share = total[key] ? row[key] / total[key] : 0;
    const fill = make("span", { class: `fill ${key}` });
    fill.style.width = `${100 * (row[key] / most[key])}%`;
    const words = `${readable(row[key])} ${key === "flops" ? "FLOPs" : "parameters"}, ${round(100 * share)}%`;
    return make("div", { class: "bar", title: words, "data-value": row[key] },
      make("span", { class: "track" }, fill),
      make("span", { class: "amount" }, `${readable(row[key])}`),
      make("span", { class: "share" }, `${round(100 * share)}%`));
  }

  Object.assign(smallnets, { make, readable, readableCost, percent, diagram, yaml });
})();
