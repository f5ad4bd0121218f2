// One loss print over the bands of up to two classes, as SVG. Put before the scripts of the elements that show one.

const PRINT = { width: 560, height: 200, left: 34, right: 8, top: 8, bottom: 26 }

function shape(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  if (text !== undefined) node.textContent = text
  return node
}

function stepOf(most, wanted) {
  const rough = most / wanted || 1
  const power = 10 ** Math.floor(Math.log10(rough))
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough)
}

// data: steps, losses (null where unknown), bands [{name, role, mean, low, high}], name of the sample, said
function printOf(data) {
  const box = element("div", "print")
  const { width, height, left, right, top, bottom } = PRINT
  const steps = data.steps
  const known = [data.losses, ...data.bands.map((band) => band.high)].flat().filter((one) => one !== null)
  const most = Math.max(...known, 1e-9)
  const first = steps[0]
  const span = Math.max(steps.at(-1) - first, 1)
  const x = (step) => left + ((step - first) / span) * (width - left - right)
  const y = (loss) => height - bottom - (Math.max(loss, 0) / (most * 1.04)) * (height - top - bottom)
  const path = (values) => {
    let text = ""
    let pen = "M"
    values.forEach((value, at) => {
      if (value === null) return void (pen = "M")
      text += pen + x(steps[at]).toFixed(1) + "," + y(value).toFixed(1)
      pen = "L"
    })
    return text
  }

  const legend = element("div", "legend")
  const entry = (role, text) => {
    const one = element("span", "entry")
    one.append(element("span", "swatch " + role), element("span", "", text))
    legend.append(one)
  }
  entry("own", data.name)
  for (const band of data.bands) entry(band.role, band.name)

  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.said })
  for (let loss = 0, by = stepOf(most, 4); loss <= most * 1.04; loss += by) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(loss), y2: y(loss) }))
    svg.append(shape("text", { class: "tick", x: left - 5, y: y(loss) + 4, "text-anchor": "end" }, +loss.toPrecision(3)))
  }
  const by = Math.max(1, Math.round(stepOf(span, 8)))
  for (let step = Math.ceil(first / by) * by; step <= steps.at(-1); step += by)
    svg.append(shape("text", { class: "tick", x: x(step), y: height - 10, "text-anchor": "middle" }, step))
  for (const band of data.bands) {
    const able = steps.map((_, at) => at).filter((at) => band.low[at] !== null && band.high[at] !== null)
    const up = able.map((at) => x(steps[at]) + "," + y(band.high[at]))
    const down = able.map((at) => x(steps[at]) + "," + y(band.low[at])).reverse()
    svg.append(shape("polygon", { class: "band " + band.role, points: [...up, ...down].join(" ") }))
    svg.append(shape("path", { class: "mean " + band.role, d: path(band.mean) }))
  }
  svg.append(shape("path", { class: "own", d: path(data.losses) }))
  if (steps.length <= 40)
    data.losses.forEach((loss, at) => {
      if (loss !== null) svg.append(shape("circle", { class: "own", cx: x(steps[at]), cy: y(loss), r: 2.4 }))
    })
  const rule = shape("line", { class: "rule", y1: top, y2: height - bottom, visibility: "hidden" })
  svg.append(rule)

  const reading = element("div", "reading", data.unit)
  svg.onpointermove = (event) => {
    const area = svg.getBoundingClientRect()
    const step = first + (((event.clientX - area.left) / area.width) * width - left) / ((width - left - right) / span)
    const near = steps.reduce((best, one, at) => (Math.abs(one - step) < Math.abs(steps[best] - step) ? at : best), 0)
    for (const side of ["x1", "x2"]) rule.setAttribute(side, x(steps[near]))
    rule.setAttribute("visibility", "visible")
    const value = (one) => (one === null ? "unknown" : one.toFixed(2))
    const others = data.bands.map((band) => `${band.label} ${value(band.mean[near])}`)
    reading.textContent = `Checkpoint ${steps[near]}: ${[`loss ${value(data.losses[near])}`, ...others].join(" · ")}`
  }
  svg.onpointerleave = () => {
    rule.setAttribute("visibility", "hidden")
    reading.textContent = data.unit
  }
  box.append(legend, svg, reading)
  return box
}

// A small image or text with its label below: of a class's examples, or a partner.
function smallOf(tile, role) {
  const box = element("figure", "small")
  if (tile.turns.length) box.append(wordsOf(tile.turns, "words text"))
  else if (tile.src) {
    const image = element("img", tile.pixelated ? "pixelated" : "")
    image.alt = tile.alt
    image.src = tile.src
    box.append(image)
  } else {
    const missing = element("div", "missing", tile.noun + " not readable")
    missing.setAttribute("role", "img")
    missing.setAttribute("aria-label", tile.alt + ", " + tile.noun + " not readable")
    box.append(missing)
  }
  if (tile.given || tile.note) {
    const caption = element("figcaption")
    if (tile.given) caption.append(element("span", "label " + role, tile.given))
    if (tile.note) caption.append(" ", element("span", "note", tile.note))
    caption.title = caption.textContent
    box.append(caption)
  }
  return box
}

// The examples of one class: a title and small images.
function sideOf(side) {
  const box = element("section", "side " + side.role)
  const title = element("div", "heading")
  title.append("Typical ", element("span", "label " + side.role, side.name))
  const strip = element("div", "examples")
  strip.append(...side.tiles.map((tile) => smallOf(tile, side.role)))
  box.append(title, strip)
  return box
}
