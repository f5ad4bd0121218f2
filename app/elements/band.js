// Drawing of one video's bands. A view has row, canvas, band and, where only a part is shown, window [from, to].

const GIVEN = 24
const GAP = 3
const OTHER = 13
const SCORE = 24
const PRINT = 22
const AXIS = 15

// Bands of a row from the top: name, top, height.
function layout(row) {
  const found = [["Given", 0, GIVEN], ["Suggested", GIVEN + GAP, OTHER]]
  if (row.after) found.push(["If accepted", GIVEN + OTHER + 2 * GAP, OTHER])
  const below = () => found.at(-1)[1] + found.at(-1)[2] + GAP
  if (row.heat.length) found.push(["Loss print", below(), PRINT])
  found.push(["Severity", below(), SCORE])
  return found
}

const heightOf = (row) => layout(row).at(-1)[1] + SCORE + AXIS

// The index of the last run that begins at a position or before it, by bisection; runs: [first position, value].
function indexAt(runs, position) {
  let low = 0
  let high = runs.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (runs[middle][0] <= position) low = middle
    else high = middle - 1
  }
  return low
}

const valueAt = (runs, position) => runs[indexAt(runs, position)][1]

function numberOf(row, position) {
  const [first, number] = row.numbers[indexAt(row.numbers, position)]
  return number + position - first
}

const windowOf = (view) => view.window ?? [0, view.row.count]
const has = (value) => value !== null && value !== undefined

// Black or white, whichever is read better on a colour #rrggbb.
function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? "#111" : "#fff"
}

function paintRuns(pen, runs, scene, top, tall, names) {
  const { x, from, to, count, colours, classes } = scene
  pen.font = "600 11px " + scene.font
  pen.textAlign = "center"
  for (let index = indexAt(runs, from); index < runs.length && runs[index][0] < to; index++) {
    const stop = Math.min(index + 1 < runs.length ? runs[index + 1][0] : count, to)
    const left = x(Math.max(runs[index][0], from))
    const wide = x(stop) - left
    pen.fillStyle = colours[runs[index][1]]
    pen.fillRect(left, top, Math.max(wide - (wide > 4 ? 1 : 0), 0.5), tall)
    if (!names || wide < 26) continue
    const name = classes[runs[index][1]]
    if (pen.measureText(name).width > wide - 12) continue
    pen.fillStyle = inkOn(colours[runs[index][1]])
    pen.fillText(name, left + wide / 2, top + tall / 2 + 4)
  }
}

function paintScore(pen, values, scene, top) {
  const { x, from, to, count } = scene
  const by = count / values.length
  pen.fillStyle = scene.faint
  pen.fillRect(x(from), top + SCORE / 2, x(to) - x(from), 0.5)
  pen.fillStyle = scene.ink
  pen.globalAlpha = 0.55
  pen.beginPath()
  pen.moveTo(x(from), top + SCORE)
  for (let index = Math.floor(from / by); index < values.length && index * by < to; index++) {
    const level = top + SCORE - (values[index] / 100) * SCORE
    pen.lineTo(x(Math.max(index * by, from)), level)
    pen.lineTo(x(Math.min((index + 1) * by, to)), level)
  }
  pen.lineTo(x(to), top + SCORE)
  pen.fill()
  pen.globalAlpha = 1
}

// Losses of the frames along time, an epoch a line from the first at the top: the darker, the higher.
function paintPrints(pen, heat, scene, top) {
  const { x, from, to, count } = scene
  const by = count / heat[0].length
  const tall = PRINT / heat.length
  pen.fillStyle = scene.ink
  for (const [line, values] of heat.entries()) {
    for (let index = Math.floor(from / by); index < values.length && index * by < to; index++) {
      if (!values[index]) continue
      const left = x(Math.max(index * by, from))
      pen.globalAlpha = values[index] / 100
      pen.fillRect(left, top + line * tall, x(Math.min((index + 1) * by, to)) - left, tall)
    }
  }
  pen.globalAlpha = 1
}

function paintBlock(pen, block, ends, scene, mine, end) {
  const { x } = scene
  const left = x(ends.start)
  const wide = Math.max(x(ends.stop) - left, 3)
  const dropped = block.state === "keep"
  // A light line under the dark one: seen on every colour, in both themes.
  for (const [width, style] of [[mine ? 6 : 4, scene.paper], [mine ? 3 : 2, scene.ink]]) {
    pen.setLineDash(dropped && style === scene.ink ? [3, 3] : [])
    pen.lineWidth = width
    pen.strokeStyle = style
    pen.strokeRect(left + 1, 1.5, Math.max(wide - 2, 1), GIVEN - 3)
    if (has(ends.middle)) {
      pen.fillStyle = style
      pen.fillRect(x(ends.middle) - width / 2, 0, width, GIVEN)
    }
  }
  pen.setLineDash([])
  const mark = { accept: "✓", keep: "✕", unsure: "?" }[block.state]
  if (mark && wide > 14) {
    pen.fillStyle = scene.ink
    pen.fillRect(left + wide - 16, 3, 13, GIVEN - 6)
    pen.font = "700 11px " + scene.font
    pen.textAlign = "center"
    pen.fillStyle = scene.paper
    pen.fillText(mark, left + wide - 9.5, GIVEN / 2 + 4)
  }
  if (!end) return
  for (const name of ["start", "middle", "stop"]) {
    if (!has(ends[name]) || ends[name] < scene.from || ends[name] > scene.to) continue
    const chosen = name === end
    pen.beginPath()
    pen.roundRect(Math.min(Math.max(x(ends[name]), 4), scene.width - 4) - 4, chosen ? 1 : 4, 8, chosen ? GIVEN - 2 : GIVEN - 8, 4)
    pen.fillStyle = chosen ? scene.accent : scene.paper
    pen.fill()
    pen.lineWidth = 1.5
    pen.strokeStyle = scene.ink
    pen.stroke()
  }
}

// What is shown of the video, where that is not all of it.
function paintAxis(pen, view, scene, height) {
  const { row } = view
  const { from, to, count, width } = scene
  pen.fillStyle = scene.ink
  pen.font = "10px " + scene.font
  pen.globalAlpha = 0.8
  pen.textAlign = "left"
  pen.fillText(numberOf(row, from), 0, height - 4)
  pen.textAlign = "right"
  pen.fillText(numberOf(row, to - 1), width, height - 4)
  pen.globalAlpha = 1
  if (to - from === count) return
  const [left, right] = [width * 0.35, width * 0.65]
  pen.fillStyle = scene.faint
  pen.fillRect(left, height - 9, right - left, 4)
  pen.fillStyle = scene.accent
  const start = left + (from / count) * (right - left)
  pen.fillRect(start, height - 9, Math.max(((to - from) / count) * (right - left), 3), 4)
}

// state: data (classes, colours, chosen), cursor, end (of the finding that is moved). ends(block): where it is now.
function paint(view, state, ends) {
  const { row, canvas, band } = view
  const width = band.clientWidth
  if (!width) return
  const ratio = window.devicePixelRatio || 1
  const height = heightOf(row)
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    canvas.style.height = height + "px"
  }
  const style = getComputedStyle(band)
  const colour = (name, fallback) => style.getPropertyValue(name).trim() || fallback
  const [from, to] = windowOf(view)
  const scene = {
    from,
    to,
    width,
    count: row.count,
    x: (position) => ((position - from) / (to - from)) * width,
    classes: state.data.classes,
    colours: state.data.colours,
    font: style.fontFamily,
    ink: colour("--st-text-color", "#1c2733"),
    paper: colour("--st-background-color", "#ffffff"),
    faint: colour("--st-border-color", "#cccccc"),
    accent: colour("--st-primary-color", "#0072b2"),
  }
  const pen = canvas.getContext("2d")
  pen.setTransform(ratio, 0, 0, ratio, 0, 0)
  pen.clearRect(0, 0, width, height)
  const bands = { Given: row.given, Suggested: row.suggested, "If accepted": row.after }
  for (const [name, top, tall] of layout(row)) {
    if (name === "Loss print") paintPrints(pen, row.heat, scene, top)
    else if (name === "Severity") paintScore(pen, row.score, scene, top)
    else paintRuns(pen, bands[name], scene, top, tall, name === "Given")
  }
  for (const block of row.blocks) {
    const mine = block.id === state.data.chosen
    paintBlock(pen, block, ends(block), scene, mine, mine && state.data.editable ? state.end : null)
  }
  paintAxis(pen, view, scene, height)
  if (state.cursor?.name === row.name) {
    const place = scene.x(state.cursor.position + 0.5)
    for (const [thick, style] of [[3, scene.paper], [1, scene.ink]]) {
      pen.fillStyle = style
      pen.fillRect(place - thick / 2, 0, thick, height - AXIS)
    }
  }
}
