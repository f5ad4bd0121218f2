// Bands of videos over time. Texts come from datasets that nobody vetted: all are set through textContent or fillText.

const GIVEN = 20
const GAP = 3
const OTHER = 12
const SCORE = 22
const AXIS = 14
const REST = 160 // ms for which the pointer rests before pictures of a video are asked for
const GRIP = 7 // px around an end within which it can be dragged

// The value of runs [first position, value] at a position, by bisection.
function at(runs, position) {
  let low = 0
  let high = runs.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (runs[middle][0] <= position) low = middle
    else high = middle - 1
  }
  return runs[low]
}

const numberOf = (row, position) => {
  const [first, number] = at(row.numbers, position)
  return number + position - first
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".rows")
  if (!root || !data) return
  const legend = parentElement.querySelector(".legend")
  const tip = parentElement.querySelector(".tip")
  const state = (root.lossprint ??= { cursor: null, drag: null, end: "stop", timer: 0, seen: new Map() })
  state.data = data
  const send = (name, value) => setTriggerValue(name, { ...value, at: Date.now() })

  legend.replaceChildren(
    ...data.classes.map((name, index) => {
      const one = element("span")
      one.setAttribute("role", "listitem")
      one.title = name
      const swatch = element("i")
      swatch.style.background = data.colours[index]
      one.append(swatch, element("b", "", name))
      return one
    }),
    element("span", "what", data.rows.some((row) => row.after)
        ? "Bands, from the top: given, suggested, if accepted, severity"
        : "Bands, from the top: given, suggested, severity"),
  )

  // Pictures that were sent stay here: they are not sent twice.
  for (const row of data.rows) if (row.sprite) state.seen.set(row.name, row.sprite)

  const heightOf = (row) => GIVEN + GAP + OTHER + (row.after ? GAP + OTHER : 0) + GAP + SCORE + AXIS
  const colour = (name, fallback) => getComputedStyle(root).getPropertyValue(name).trim() || fallback

  function draw(view) {
    const { row, canvas } = view
    const width = view.band.clientWidth
    if (!width) return
    const ratio = window.devicePixelRatio || 1
    const height = heightOf(row)
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio)
      canvas.height = Math.round(height * ratio)
      canvas.style.height = height + "px"
    }
    const pen = canvas.getContext("2d")
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.clearRect(0, 0, width, height)
    const x = (position) => (position / row.count) * width
    const ink = colour("--st-text-color", "#1c2733")
    const bands = (runs, top, tall) => {
      for (let index = 0; index < runs.length; index++) {
        const stop = index + 1 < runs.length ? runs[index + 1][0] : row.count
        pen.fillStyle = state.data.colours[runs[index][1]]
        pen.fillRect(x(runs[index][0]), top, Math.max(x(stop) - x(runs[index][0]), 0.5), tall)
      }
    }
    bands(row.given, 0, GIVEN)
    let top = GIVEN + GAP
    bands(row.suggested, top, OTHER)
    top += OTHER + GAP
    if (row.after) {
      bands(row.after, top, OTHER)
      pen.strokeStyle = ink
      pen.lineWidth = 1
      pen.strokeRect(0.5, top + 0.5, width - 1, OTHER - 1)
      top += OTHER + GAP
    }
    pen.fillStyle = colour("--st-border-color", "#ccc")
    pen.fillRect(0, top + SCORE / 2, width, 0.5)
    pen.fillStyle = ink
    pen.globalAlpha = 0.55
    pen.beginPath()
    pen.moveTo(0, top + SCORE)
    for (let index = 0; index < row.score.length; index++) {
      const level = top + SCORE - (row.score[index] / 100) * SCORE
      pen.lineTo((index / row.score.length) * width, level)
      pen.lineTo(((index + 1) / row.score.length) * width, level)
    }
    pen.lineTo(width, top + SCORE)
    pen.fill()
    pen.globalAlpha = 1
    for (const block of row.blocks) {
      const mine = block.id === state.data.chosen
      const ends = mine && state.drag?.ends ? state.drag.ends : block
      const left = x(ends.start)
      const wide = Math.max(x(ends.stop) - left, 3)
      pen.setLineDash(block.state === "keep" ? [3, 3] : [])
      pen.lineWidth = mine ? 3 : 2
      pen.strokeStyle = ink
      pen.globalAlpha = block.state === "keep" ? 0.55 : 1
      pen.strokeRect(left + 1, 1, wide - 2, GIVEN - 2)
      pen.setLineDash([])
      if (ends.middle !== null && ends.middle !== undefined) {
        pen.fillStyle = ink
        pen.fillRect(x(ends.middle) - 1, 0, 2, GIVEN)
      }
      pen.globalAlpha = 1
      const mark = { accept: "✓", keep: "✕", unsure: "?" }[block.state]
      if (mark && wide > 9) {
        pen.font = "700 12px sans-serif"
        pen.textAlign = "center"
        pen.lineWidth = 3
        pen.strokeStyle = colour("--st-background-color", "#fff")
        pen.strokeText(mark, left + wide / 2, 14)
        pen.fillStyle = ink
        pen.fillText(mark, left + wide / 2, 14)
      }
      if (mine) {
        pen.fillStyle = colour("--st-primary-color", "#0072b2")
        for (const name of ["start", "middle", "stop"]) {
          if (ends[name] === null || ends[name] === undefined) continue
          pen.fillRect(x(ends[name]) - 2.5, name === state.end ? -1 : 3, 5, name === state.end ? GIVEN + 2 : GIVEN - 6)
        }
      }
    }
    pen.fillStyle = ink
    pen.font = "10px sans-serif"
    pen.globalAlpha = 0.75
    pen.textAlign = "left"
    pen.fillText(numberOf(row, 0), 0, height - 3)
    pen.textAlign = "right"
    pen.fillText(numberOf(row, row.count - 1), width, height - 3)
    pen.globalAlpha = 1
    if (state.cursor?.name === row.name) {
      pen.fillStyle = ink
      pen.fillRect(x(state.cursor.position + 0.5) - 0.5, 0, 1, height - AXIS)
    }
  }

  const redraw = (view) => {
    if (view.pending) return
    view.pending = requestAnimationFrame(() => {
      view.pending = 0
      draw(view)
    })
  }

  // The picture nearest to a position: exact where the frame itself was sent, else of the sprite.
  function picture(row, position) {
    const exact = state.data.frame
    if (exact && exact.sequence === row.name && exact.position === position) return { src: exact.src, crisp: exact.tiny }
    const sprite = state.seen.get(row.name)
    if (!sprite) return null
    const index = Math.min(Math.floor((position / row.count) * sprite.sources.length), sprite.sources.length - 1)
    return { src: sprite.sources[index], crisp: sprite.tiny }
  }

  function illustrate(row, position) {
    const image = tip.querySelector("img")
    const found = picture(row, position)
    image.hidden = !found
    if (found) {
      if (image.src !== found.src) image.src = found.src
      image.classList.toggle("crisp", Boolean(found.crisp))
    }
  }

  function show(view, position, clientX, clientY) {
    const { row } = view
    const before = state.cursor && state.views.get(state.cursor.name)
    state.cursor = { name: row.name, position }
    redraw(view)
    if (before && before !== view) redraw(before)
    illustrate(row, position)
    const given = state.data.classes[at(row.given, position)[1]]
    const suggested = state.data.classes[at(row.suggested, position)[1]]
    const lines = ["frame " + numberOf(row, position), "given: " + given]
    if (suggested !== given) lines.push("suggested: " + suggested)
    const bin = Math.min(Math.floor((position / row.count) * row.score.length), row.score.length - 1)
    lines.push("severity " + (row.score[bin] / 100).toFixed(2))
    for (const block of row.blocks) if (position >= block.start && position < block.stop) lines.push(block.text)
    tip.querySelector(".words").replaceChildren(...lines.map((line) => element("div", "", line)))
    tip.hidden = false
    const box = tip.getBoundingClientRect()
    const right = clientX + 16 + box.width > window.innerWidth
    tip.style.left = Math.max(right ? clientX - 16 - box.width : clientX + 16, 4) + "px"
    const under = clientY + 24 + box.height > window.innerHeight
    tip.style.top = Math.max(under ? clientY - 18 - box.height : clientY + 24, 4) + "px"
    clearTimeout(state.timer)
    const exact = state.data.frame
    if (exact && exact.sequence === row.name && exact.position === position) return
    state.timer = setTimeout(() => send("look", { name: row.name, position, pictures: !state.seen.has(row.name) }), REST)
  }

  function hide() {
    clearTimeout(state.timer)
    tip.hidden = true
    const view = state.cursor && state.views.get(state.cursor.name)
    state.cursor = null
    if (view) redraw(view)
  }

  const chosenIn = (row) => row.blocks.find((block) => block.id === state.data.chosen)

  // New ends, kept in order and within the video; at least a frame in each block.
  function moved(row, block, name, position) {
    const { start, middle, stop } = state.drag?.ends ?? block
    const ends = { start, middle, stop }
    const two = middle !== null && middle !== undefined
    const limits = {
      start: [0, (two ? middle : stop) - 1],
      middle: [start + 1, stop - 1],
      stop: [(two ? middle : start) + 1, row.count],
    }[name]
    ends[name] = Math.min(Math.max(position, limits[0]), limits[1])
    return ends
  }

  function listen(view) {
    const { band } = view
    const positionOf = (event) => {
      const box = band.getBoundingClientRect()
      const share = (event.clientX - box.left) / box.width
      return Math.min(Math.max(Math.floor(share * view.row.count), 0), view.row.count - 1)
    }
    const edgeOf = (event) => {
      const box = band.getBoundingClientRect()
      return Math.round(((event.clientX - box.left) / box.width) * view.row.count)
    }
    band.addEventListener("pointermove", (event) => {
      const position = positionOf(event)
      if (state.drag?.view === view) {
        state.drag.ends = moved(view.row, state.drag.block, state.drag.name, edgeOf(event))
      }
      show(view, position, event.clientX, event.clientY)
    })
    band.addEventListener("pointerleave", () => {
      if (!state.drag) hide()
    })
    band.addEventListener("pointerdown", (event) => {
      const block = chosenIn(view.row)
      const box = band.getBoundingClientRect()
      if (!block || event.clientY - box.top > GIVEN + 4) return
      const scale = box.width / view.row.count
      const near = ["start", "stop", "middle"]
        .filter((name) => block[name] !== null && block[name] !== undefined)
        .map((name) => [Math.abs(box.left + block[name] * scale - event.clientX), name])
        .sort((one, other) => one[0] - other[0])[0]
      if (!near || near[0] > GRIP) return
      state.end = near[1]
      state.drag = { view, block, name: near[1], ends: null }
      band.setPointerCapture(event.pointerId)
      event.preventDefault()
    })
    band.addEventListener("pointerup", (event) => {
      if (state.drag?.view === view) {
        const { ends, block } = state.drag
        state.drag = null
        if (ends) {
          Object.assign(block, ends)
          send("ends", { id: block.id, ...ends })
          redraw(view)
          return
        }
      }
      const position = positionOf(event)
      const inside = view.row.blocks.filter((block) => position >= block.start && position < block.stop)
      const nearest = inside.length
        ? inside
        : view.row.blocks.filter((block) => {
            const scale = band.clientWidth / view.row.count
            return Math.min(Math.abs(block.start - position), Math.abs(block.stop - position)) * scale < GRIP
          })
      if (nearest.length) send("pick", { id: nearest.sort((a, b) => a.stop - a.start - (b.stop - b.start))[0].id })
    })
    band.addEventListener("keydown", (event) => {
      const block = chosenIn(view.row)
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (event.ctrlKey || event.metaKey || event.altKey) return
      if (step) {
        const by = step * (event.shiftKey ? 10 : 1)
        if (block && state.editing) {
          const ends = moved(view.row, block, state.end, block[state.end] + by)
          Object.assign(block, ends)
          clearTimeout(state.later)
          state.later = setTimeout(() => send("ends", { id: block.id, ...ends }), 350)
          redraw(view)
        }
        const from = block && state.editing ? block[state.end] - (state.end === "stop" ? 1 : 0) : (state.cursor?.position ?? 0) + by
        const position = Math.min(Math.max(from, 0), view.row.count - 1)
        const box = band.getBoundingClientRect()
        show(view, position, box.left + ((position + 0.5) / view.row.count) * box.width, box.top + 20)
      } else if (event.key === "[" || event.key === "]" || event.key === "|") {
        if (!block) return
        state.end = { "[": "start", "]": "stop", "|": "middle" }[event.key]
        if (block[state.end] === null || block[state.end] === undefined) state.end = "start"
        state.editing = true
        redraw(view)
      } else if (event.key === "Escape") {
        state.editing = false
        hide()
      } else if (event.key === "Enter") {
        const position = state.cursor?.name === view.row.name ? state.cursor.position : -1
        const found = view.row.blocks.find((one) => position >= one.start && position < one.stop) ?? view.row.blocks[0]
        if (found) send("pick", { id: found.id })
      } else return
      event.preventDefault()
      event.stopPropagation()
    })
    band.addEventListener("blur", hide)
  }

  // Rows stay where they are while only their data changes, so that the focus and the pointer stay with them.
  const old = state.views ?? new Map()
  state.views = new Map()
  const boxes = data.rows.map((row) => {
    let view = old.get(row.name)
    if (!view) {
      const box = element("div", "row")
      const band = element("div", "band")
      const canvas = element("canvas")
      const head = element("div", "head")
      band.tabIndex = 0
      band.append(canvas)
      box.append(head, band)
      view = { box, band, canvas, head, pending: 0 }
      new ResizeObserver(() => redraw(view)).observe(band)
      view.row = row
      listen(view)
    }
    view.row = row
    const open = row.blocks.filter((block) => block.state === "open").length
    const found = row.blocks.length
    const note = `${row.count.toLocaleString("en")} frames, ${row.split}`
    const told = found ? `${found} finding${found > 1 ? "s" : ""}${open ? `, ${open} open` : ", all decided"}` : "nothing found"
    view.head.replaceChildren(element("strong", "", row.name), element("span", "note", note), element("span", "note", told))
    view.band.setAttribute("role", "application")
    view.band.setAttribute("aria-roledescription", "timeline")
    view.band.setAttribute(
      "aria-label",
      `${row.name}: ${told}. ${row.blocks.map((block) => block.text).join(" ")} Arrows move along the frames, Enter chooses a finding.`,
    )
    view.box.classList.toggle("chosen", Boolean(chosenIn(row)))
    view.box.dataset.name = row.name
    state.views.set(row.name, view)
    redraw(view)
    return view.box
  })
  const same = root.children.length === boxes.length && boxes.every((box, index) => root.children[index] === box)
  if (!same) root.replaceChildren(...boxes)
  if (state.cursor && state.views.has(state.cursor.name)) {
    illustrate(state.views.get(state.cursor.name).row, state.cursor.position) // what it asked for may have come
  }
  if (state.last !== data.chosen) state.editing = false
  state.last = data.chosen
}
