// Bands of videos over time. Texts come from datasets that nobody vetted: all are set through textContent or fillText.

const REST = 160 // ms for which the pointer rests before pictures of a video are asked for
const GRIP = 8 // px around an end within which it can be dragged; for fingers three times as much
const CLOSE = 1 / 12 // of the video: a shorter finding is shown close up
const LEAST = 12 // frames that are shown at least

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".rows")
  if (!root || !data) return
  const legend = parentElement.querySelector(".legend")
  const tip = parentElement.querySelector(".tip")
  const fresh = { cursor: null, drag: null, end: "start", timer: 0, seen: new Map(), views: new Map(), reveal: data.reveal }
  const state = (root.lossprint ??= fresh)
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
    // On narrow screens, where the bands have no names beside them.
    element("span", "what", "Bands: " + (data.rows.length ? layout(data.rows[0]) : []).map(([name]) => name.toLowerCase()).join(", ")),
  )

  // Pictures that were sent stay here: they are not sent twice.
  for (const row of data.rows) if (row.sprite) state.seen.set(row.name, row.sprite)

  const chosenIn = (row) => row.blocks.find((block) => block.id === state.data.chosen)
  const openIn = (row) => (state.data.editable ? chosenIn(row) : undefined)
  const endsOf = (block) => (state.drag?.id === block.id && state.drag.ends) || block

  const redraw = (view) => {
    view.pending ||= requestAnimationFrame(() => {
      view.pending = 0
      paint(view, state, endsOf)
    })
  }

  // ------------------------------------------------------------------------------------------ what is shown

  function look(view, from, to) {
    const { count } = view.row
    const length = Math.min(Math.max(Math.round(to - from), Math.min(LEAST, count)), count)
    const start = Math.min(Math.max(Math.round(from), 0), count - length)
    view.window = length === count ? null : [start, start + length]
    redraw(view)
  }

  function zoom(view, by, about) {
    const [from, to] = windowOf(view)
    const block = openIn(view.row)
    const centre = about ?? (block ? (endsOf(block).start + endsOf(block).stop) / 2 : (from + to) / 2)
    const length = Math.max((to - from) * by, LEAST)
    const share = Math.min(Math.max((centre - from) / (to - from), 0), 1)
    look(view, about === undefined ? centre - length / 2 : centre - share * length, about === undefined
      ? centre + length / 2
      : centre + (1 - share) * length)
  }

  function closeUp(view) {
    const block = openIn(view.row)
    if (!block) return
    const pad = Math.max(2.5 * (block.stop - block.start), LEAST)
    look(view, block.start - pad, block.stop + pad)
  }

  function follow(view, position) {
    const [from, to] = windowOf(view)
    const by = position < from ? position - from : position >= to ? position - to + 1 : 0
    if (by) look(view, from + by, to + by)
  }

  // The picture nearest to a position: exact where the frame itself was sent, else of the sprite.
  const exactly = (row, position) => {
    const exact = state.data.frame
    return exact && exact.sequence === row.name && exact.position === position ? exact : null
  }

  function illustrate(row, position) {
    const image = tip.querySelector("img")
    const sprite = state.seen.get(row.name)
    let found = exactly(row, position)
    if (!found?.src && sprite) {
      const index = Math.min(Math.floor((position / row.count) * sprite.sources.length), sprite.sources.length - 1)
      found = { src: sprite.sources[index], tiny: sprite.tiny }
    }
    image.hidden = !found?.src
    if (image.hidden) return
    if (image.src !== found.src) image.src = found.src
    image.classList.toggle("crisp", Boolean(found.tiny))
  }

  function describe(row, position) {
    const bin = (values) => values[Math.min(Math.floor((position / row.count) * values.length), values.length - 1)]
    const given = state.data.classes[valueAt(row.given, position)]
    const suggested = state.data.classes[valueAt(row.suggested, position)]
    const doubt = exactly(row, position)?.doubt ?? bin(row.doubt)
    const lines = [`frame ${numberOf(row, position)}`, `given: ${given}, p = ${(1 - doubt / 100).toFixed(2)}`]
    if (suggested !== given) lines.push(`suggested: ${suggested}`)
    lines.push(`severity ${(bin(row.score) / 100).toFixed(2)}`)
    for (const block of row.blocks) if (position >= block.start && position < block.stop) lines.push(block.text)
    const words = lines.map((line) => element("div", "", line))
    words[0].className = "number"
    tip.querySelector(".words").replaceChildren(...words)
  }

  function show(view, position, clientX, clientY) {
    const { row } = view
    const before = state.cursor && state.views.get(state.cursor.name)
    state.cursor = { name: row.name, position }
    redraw(view)
    if (before && before !== view) redraw(before)
    illustrate(row, position)
    describe(row, position)
    tip.hidden = false
    const box = tip.getBoundingClientRect()
    const right = clientX + 16 + box.width > window.innerWidth
    tip.style.left = Math.max(right ? clientX - 16 - box.width : clientX + 16, 4) + "px"
    const under = clientY + 24 + box.height > window.innerHeight
    tip.style.top = Math.max(under ? clientY - 18 - box.height : clientY + 24, 4) + "px"
    clearTimeout(state.timer)
    if (exactly(row, position)) return
    state.timer = setTimeout(() => send("look", { name: row.name, position, pictures: !state.seen.has(row.name) }), REST)
  }

  function showAt(view, position) {
    const [from, to] = windowOf(view)
    const box = view.band.getBoundingClientRect()
    show(view, position, box.left + ((position + 0.5 - from) / (to - from)) * box.width, box.top + 30)
  }

  function hide() {
    clearTimeout(state.timer)
    tip.hidden = true
    const view = state.cursor && state.views.get(state.cursor.name)
    state.cursor = null
    if (view) redraw(view)
  }

  // ------------------------------------------------------------------------------------------ the ends of a finding

  // New ends, kept in order and within the video; at least a frame in each block.
  function moved(row, block, name, position) {
    const { start, middle, stop } = endsOf(block)
    const ends = { start, middle, stop }
    const limits = {
      start: [0, (has(middle) ? middle : stop) - 1],
      middle: [start + 1, stop - 1],
      stop: [(has(middle) ? middle : start) + 1, row.count],
    }[name]
    ends[name] = Math.min(Math.max(position, limits[0]), limits[1])
    return ends
  }

  // The frame that an end is about: the first of its block, or the last that is still in it.
  const frameOf = (ends, name) => (name === "stop" ? ends.stop - 1 : ends[name])

  function choose(view, name) {
    const block = openIn(view.row)
    if (!block) return
    state.end = has(block[name]) ? name : "start"
    state.editing = true
    follow(view, frameOf(block, state.end))
    showAt(view, frameOf(block, state.end))
  }

  function nearEnd(view, event) {
    const block = openIn(view.row)
    const box = view.band.getBoundingClientRect()
    if (!block || event.clientY - box.top > GIVEN + 4) return null
    const [from, to] = windowOf(view)
    const found = ["start", "stop", "middle"]
      .filter((name) => has(block[name]))
      .map((name) => [Math.abs(box.left + ((block[name] - from) / (to - from)) * box.width - event.clientX), name])
      .sort((one, other) => one[0] - other[0])[0]
    return found[0] <= (event.pointerType === "touch" ? 3 * GRIP : GRIP) ? found[1] : null
  }

  function pickAt(view, position) {
    const [from, to] = windowOf(view)
    const slack = (GRIP * (to - from)) / view.band.clientWidth
    const inside = view.row.blocks.filter((block) => position >= block.start && position < block.stop)
    const near = view.row.blocks.filter((block) => position >= block.start - slack && position < block.stop + slack)
    const found = (inside.length ? inside : near).sort((one, other) => one.stop - one.start - (other.stop - other.start))
    if (found.length) send("pick", { id: found[0].id })
  }

  function listen(view) {
    const { band } = view
    const edgeOf = (event) => {
      const box = band.getBoundingClientRect()
      const [from, to] = windowOf(view)
      return from + ((event.clientX - box.left) / box.width) * (to - from)
    }
    const positionOf = (event) => Math.min(Math.max(Math.floor(edgeOf(event)), 0), view.row.count - 1)
    band.addEventListener("pointermove", (event) => {
      const block = openIn(view.row)
      if (block && state.drag?.id === block.id) {
        state.drag.ends = moved(view.row, block, state.end, Math.round(edgeOf(event)))
        show(view, frameOf(state.drag.ends, state.end), event.clientX, event.clientY)
        return
      }
      band.classList.toggle("grip", Boolean(nearEnd(view, event)))
      show(view, positionOf(event), event.clientX, event.clientY)
    })
    band.addEventListener("pointerleave", () => {
      if (!state.drag) hide()
    })
    band.addEventListener("pointerdown", (event) => {
      const name = nearEnd(view, event)
      if (!name) return
      state.end = name
      state.drag = { id: openIn(view.row).id, ends: null }
      band.setPointerCapture(event.pointerId)
      band.focus({ preventScroll: true })
      event.preventDefault()
    })
    band.addEventListener("pointercancel", () => {
      state.drag = null
      hide()
    })
    band.addEventListener("pointerup", (event) => {
      const { id, ends } = state.drag ?? {}
      state.drag = null
      const block = openIn(view.row)
      if (!id) pickAt(view, positionOf(event))
      else if (block?.id === id && ends) {
        Object.assign(block, ends)
        state.editing = true
        send("ends", { id, ...ends })
        redraw(view)
      }
    })
    band.addEventListener(
      "wheel",
      (event) => {
        if (!state.data.editable) return
        const [from, to] = windowOf(view)
        const aside = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX
        if (event.ctrlKey) zoom(view, event.deltaY > 0 ? 1.25 : 0.8, edgeOf(event))
        else if (view.window && Math.abs(aside) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
          const by = (aside / band.clientWidth) * (to - from)
          look(view, from + by, to + by)
        } else return
        event.preventDefault()
      },
      { passive: false },
    )
    band.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      const block = openIn(view.row)
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      const end = { "[": "start", "]": "stop", "|": "middle" }[event.key]
      if (step) {
        const by = step * (event.shiftKey ? 10 : 1)
        let position = (state.cursor?.name === view.row.name ? state.cursor.position : windowOf(view)[0]) + by
        if (block && state.editing) {
          const ends = moved(view.row, block, state.end, block[state.end] + by)
          Object.assign(block, ends)
          clearTimeout(state.later)
          state.later = setTimeout(() => send("ends", { id: block.id, ...ends }), 350)
          position = frameOf(ends, state.end)
        }
        position = Math.min(Math.max(position, 0), view.row.count - 1)
        follow(view, position)
        showAt(view, position)
      } else if (end && block) choose(view, end)
      else if (event.key === "+" && block) zoom(view, 0.5)
      else if (event.key === "-" && block) zoom(view, 2)
      else if (event.key === "Escape") {
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

  // [ and ] choose an end from wherever the focus is, other than in a field.
  if (data.editable && !state.listening) {
    state.listening = (event) => {
      if (!root.isConnected) {
        document.removeEventListener("keydown", state.listening)
        return
      }
      const name = { "[": "start", "]": "stop", "|": "middle" }[event.key]
      const view = [...state.views.values()].find((one) => openIn(one.row))
      const typing = event.composedPath()[0]?.closest?.("input, textarea, select, [contenteditable], [role=combobox]")
      if (!name || !view || typing || event.ctrlKey || event.metaKey) return
      view.band.focus()
      choose(view, name)
      event.preventDefault()
    }
    document.addEventListener("keydown", state.listening)
  }

  // ------------------------------------------------------------------------------------------ rows

  function tool(view, text, label, act) {
    const button = element("button", "", text)
    button.type = "button"
    button.title = label
    button.setAttribute("aria-label", label)
    button.addEventListener("click", act)
    view.tools.append(button)
  }

  function make(row) {
    const view = { row, pending: 0, window: null }
    for (const name of ["box", "head", "names", "band", "tools"]) view[name] = element("div", name === "box" ? "row" : name)
    view.canvas = element("canvas")
    view.band.tabIndex = 0
    view.band.append(view.canvas)
    view.texts = [element("strong"), element("span", "note"), element("span", "note")]
    view.head.append(...view.texts, view.tools)
    view.box.append(view.head, view.names, view.band)
    tool(view, "+", "Closer", () => zoom(view, 0.5))
    tool(view, "−", "Further away", () => zoom(view, 2))
    tool(view, "Finding", "Show the finding close up", () => closeUp(view))
    tool(view, "Whole video", "Show the whole video", () => look(view, 0, view.row.count))
    new ResizeObserver(() => redraw(view)).observe(view.band)
    listen(view)
    return view
  }

  function refresh(view, row) {
    view.row = row
    const open = row.blocks.filter((block) => block.state === "open").length
    const found = row.blocks.length
    const note = `${row.count.toLocaleString("en")} frames, ${row.split}`
    const told = found ? `${found} finding${found > 1 ? "s" : ""}${open ? `, ${open} open` : ", all decided"}` : "nothing found"
    for (const [index, text] of [row.name, note, told].entries()) view.texts[index].textContent = text
    view.tools.hidden = !data.editable
    view.names.replaceChildren(
      ...layout(row).map(([name, top, tall]) => {
        const one = element("span", "", name)
        one.style.top = top + "px"
        one.style.lineHeight = tall + "px"
        return one
      }),
    )
    const claims = row.blocks.map((block) => block.text).join(" ")
    const keys = "Arrows move along the frames, Enter chooses a finding."
    const edit = "Brackets choose an end of the finding, arrows then move it."
    view.band.setAttribute("role", "application")
    view.band.setAttribute("aria-roledescription", "timeline")
    view.band.setAttribute("aria-label", `${row.name}: ${told}. ${claims} ${data.editable ? edit : keys}`)
    view.box.classList.toggle("chosen", Boolean(!data.editable && chosenIn(row)))
    view.box.dataset.name = row.name
    redraw(view)
    return view.box
  }

  // Rows stay where they are while only their data changes, so that the focus and the pointer stay with them.
  const old = state.views
  state.views = new Map(data.rows.map((row) => [row.name, old.get(row.name) ?? make(row)]))
  const boxes = data.rows.map((row) => refresh(state.views.get(row.name), row))
  const same = root.children.length === boxes.length && boxes.every((box, index) => root.children[index] === box)
  if (!same) root.replaceChildren(...boxes)
  if (state.cursor && state.views.has(state.cursor.name)) {
    const { row } = state.views.get(state.cursor.name)
    illustrate(row, state.cursor.position) // what it asked for may have come
    describe(row, state.cursor.position)
  } else if (state.cursor) hide()
  if (state.last !== data.chosen) {
    state.editing = false
    state.end = "start"
    for (const view of state.views.values()) {
      const block = openIn(view.row)
      if (block && (block.stop - block.start) / view.row.count < CLOSE) closeUp(view)
      else look(view, 0, view.row.count)
    }
  }
  state.last = data.chosen
  if (data.reveal > state.reveal) {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches
    const host = root.getRootNode().host ?? root
    const card = host.closest("[class*=st-key-seq-card]") ?? host
    card.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" })
  }
  state.reveal = data.reveal
}
