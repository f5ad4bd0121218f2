// The thumbnail grid. Data comes from datasets that nobody vetted: all text is set through textContent.

const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: "down", ArrowUp: "up", Home: "first", End: "last" }
const HINTS = { accept: "as suggested", keep: "keep", exclude: "exclude", unsure: "unsure", undo: "undo" }
const SAID = { accept: "As suggested", keep: "Keep label", exclude: "Exclude", unsure: "Unsure" }

function picture(tile, pickable) {
  const frame = element("div", "frame")
  if (tile.turns.length) {
    frame.classList.add("text")
    frame.append(wordsOf(tile.turns, "words"))
  } else if (tile.src) {
    const image = element("img", tile.pixelated ? "pixelated" : "")
    image.alt = tile.alt
    image.decoding = "async"
    image.draggable = false
    image.src = tile.src
    frame.append(image)
  } else {
    const missing = element("div", "missing", tile.noun + " not readable")
    missing.setAttribute("role", "img")
    missing.setAttribute("aria-label", tile.alt + ", " + tile.noun + " not readable")
    frame.append(missing)
  }
  if (pickable) {
    const box = element("span", "pick")
    box.setAttribute("aria-hidden", "true")
    box.title = "Select (Space); Shift-click selects a range"
    frame.append(box)
  }
  if (tile.badge) frame.append(element("span", "badge " + tile.tone, tile.badge))
  return frame
}

function caption(tile) {
  const box = element("div", "caption")
  if (tile.title) box.append(element("div", "title", tile.title))
  if (tile.given || tile.suggested) {
    const line = element("div", "labels")
    if (tile.given) line.append(element("span", "given", tile.given))
    if (tile.suggested) {
      line.append(element("span", "arrow", "→"))
      line.append(element("span", "suggested", tile.suggested))
    }
    line.title = line.textContent
    box.append(line)
  }
  if (tile.bar !== null) {
    const track = element("div", "track")
    const fill = element("div", "fill")
    fill.style.width = Math.round(Math.min(1, Math.max(0, tile.bar)) * 100) + "%"
    track.append(fill)
    track.title = "severity " + tile.bar.toFixed(2)
    box.append(track)
  }
  if (tile.note) box.append(element("div", "note", tile.note))
  return box
}

function describe(tile) {
  const parts = [tile.alt]
  if (tile.badge) parts.push(tile.badge)
  if (tile.bar !== null) parts.push("severity " + tile.bar.toFixed(2))
  if (tile.note) parts.push(tile.note)
  return parts.join(", ")
}

// Draw the tiles anew, but keep the nodes that say the same: what the reader is at stays where it is.
function fill(grid, data) {
  const before = new Map([...grid.children].map((node) => [node.dataset.id, node]))
  const focused = [...grid.children].findIndex((node) => node === grid.getRootNode().activeElement)
  const was = grid.children[focused]?.dataset.id
  const nodes = data.tiles.map((tile) => {
    const stamp = JSON.stringify([data.clickable, data.pickable, tile])
    const old = before.get(String(tile.id))
    if (old && old.lossprintStamp === stamp) return old
    const node = element("div", tile.dim ? "tile dim" : "tile")
    node.lossprintStamp = stamp
    node.dataset.id = tile.id
    node.setAttribute("role", data.clickable ? "option" : "listitem")
    node.setAttribute("aria-label", describe(tile))
    node.append(picture(tile, data.pickable), caption(tile))
    return node
  })
  if (nodes.length !== grid.children.length || nodes.some((node, at) => node !== grid.children[at])) {
    grid.replaceChildren(...nodes)
    if (focused >= 0 && nodes.length) {
      const same = nodes.find((node) => node.dataset.id === was)
      const node = same ?? nodes[Math.min(focused, nodes.length - 1)]
      node.tabIndex = 0
      node.focus({ preventScroll: true })
    }
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const grid = parentElement.querySelector(".grid")
  const bar = parentElement.querySelector(".bar")
  if (!grid || !data) return

  grid.style.setProperty("--tile", data.width + "px")
  grid.style.setProperty("--columns", data.columns ?? "auto-fill")
  grid.style.setProperty("--least", data.columns ? "0px" : data.texts ? "100%" : "46%")
  grid.classList.toggle("fixed", Boolean(data.columns))
  grid.classList.toggle("strip", Boolean(data.strip))
  grid.classList.toggle("texts", Boolean(data.texts))
  grid.setAttribute("aria-label", data.label)
  grid.setAttribute("role", data.clickable ? "listbox" : "list")
  if (data.pickable) grid.setAttribute("aria-multiselectable", "true")
  fill(grid, data)

  const nodes = [...grid.children]
  const ids = nodes.map((node) => node.dataset.id)
  const picked = (grid.lossprintPicked ??= new Set())
  for (const id of [...picked]) if (!ids.includes(id)) picked.delete(id)

  const mark = (id) => {
    for (const node of nodes) {
      const on = id !== null && node.dataset.id === String(id)
      node.classList.toggle("selected", on)
      node.classList.toggle("picked", picked.has(node.dataset.id))
      if (data.clickable)
        node.setAttribute("aria-selected", on || picked.has(node.dataset.id) ? "true" : "false")
    }
  }
  mark(data.selected)
  // A drawer that closes leaves the focus nowhere: back to the tile that opened it, so that the arrow keys go on there.
  const before = grid.lossprintSelected ?? null
  grid.lossprintSelected = data.selected
  if (before !== null && data.selected === null) {
    setTimeout(() => {
      const active = document.activeElement
      if (active && active !== document.body) return
      nodes.find((node) => node.dataset.id === String(before))?.focus({ preventScroll: true })
    }, 350)
  }
  grid.classList.toggle("clickable", data.clickable)
  if (!data.clickable) {
    grid.onclick = null
    grid.onkeydown = null
    bar.hidden = true
    return
  }

  const reachable = (node) => {
    for (const other of nodes) other.tabIndex = other === node ? 0 : -1
  }
  const chosen = nodes.find((node) => node.classList.contains("selected"))
  const at0 = nodes.filter((node) => node.tabIndex === 0)
  if (at0.length !== 1) reachable(at0[0] ?? chosen ?? nodes[0])
  const open = (node) => {
    mark(node.dataset.id)
    reachable(node)
    setTriggerValue("open", Number(node.dataset.id))
  }
  const act = (action, label = null) => {
    const at = nodes.indexOf(grid.getRootNode().activeElement)
    const mine = picked.size ? ids.filter((id) => picked.has(id)) : at >= 0 ? [ids[at]] : []
    const back = action === "undo" || action === "redo"
    if (!mine.length && !back) return
    const single = !picked.size
    picked.clear()
    mark(data.selected)
    draw()
    // The time makes two equal decisions two: what did not change would not be sent.
    setTriggerValue("act", { action, label, ids: mine.map(Number), at: Date.now() })
    if (single && !back && nodes[at + 1]) go(at + 1)
  }
  const go = (to) => {
    if (!nodes[to]) return
    reachable(nodes[to])
    nodes[to].focus()
    nodes[to].scrollIntoView({ block: "nearest" })
  }
  const columns = () => {
    const top = nodes[0].offsetTop
    const next = nodes.findIndex((node) => node.offsetTop !== top)
    return next < 1 ? nodes.length : next
  }
  const toggle = (at) => {
    if (picked.has(ids[at])) picked.delete(ids[at])
    else picked.add(ids[at])
    grid.lossprintAnchor = ids[at]
  }
  const range = (to) => {
    const from = Math.max(0, ids.indexOf(grid.lossprintAnchor ?? ids[to]))
    for (let at = Math.min(from, to); at <= Math.max(from, to); at++) picked.add(ids[at])
  }
  const repaint = () => {
    mark(data.selected)
    draw()
  }

  function draw() {
    bar.hidden = !data.pickable
    if (!data.pickable) return
    const stamp = JSON.stringify([data.labels, data.digits, picked.size])
    if (bar.lossprintStamp === stamp) return
    bar.lossprintStamp = stamp
    // Both rows lie in one place, one of them unseen: the first tick then moves nothing below.
    const idle = element("div", picked.size ? "row off" : "row")
    const acts = element("div", picked.size ? "row" : "row off")
    bar.replaceChildren(idle, acts)
    idle.append(element("span", "count", "Select with the box or Space, Shift for a range."))
    const keys = element("span", "keys")
    const hint = (key, word) => {
      const pair = element("span", "pair")
      pair.append(element("kbd", "", key), element("span", "word", word))
      keys.append(pair)
    }
    for (const [action, word] of Object.entries(HINTS))
      if (action !== "accept" || data.labels.length) hint(data.keys[action], word)
    data.digits.forEach((label, at) => hint(String((at + 1) % 10), label))
    idle.append(keys)
    const count = element("span", "count", picked.size + " selected")
    count.setAttribute("role", "status")
    acts.append(count)
    const button = (text, work, className = "") => {
      const node = element("button", className, text)
      node.type = "button"
      node.onclick = work
      acts.append(node)
    }
    for (const [action, text] of Object.entries(SAID))
      if (action !== "accept" || data.labels.length) button(text, () => act(action), action === "accept" ? "first" : "")
    const choice = element("select")
    choice.setAttribute("aria-label", "Relabel the selected samples")
    // Unseen, it holds no options: what reads the page for options would come upon them first.
    if (picked.size) for (const label of ["", ...data.labels]) choice.append(new Option(label || "Relabel as …", label))
    choice.onchange = () => choice.value && act("relabel", choice.value)
    if (data.labels.length) acts.append(choice)
    if (data.more) button("More …", () => act("more"))
    button("All on this page", () => {
      for (const id of ids) picked.add(id)
      repaint()
    })
    button("None", () => {
      picked.clear()
      repaint()
    })
  }
  draw()

  grid.onclick = (event) => {
    const node = event.target.closest(".tile")
    if (!node) return
    const at = nodes.indexOf(node)
    const onBox = Boolean(event.target.closest(".pick"))
    if (!data.pickable || !(onBox || event.shiftKey || event.ctrlKey || event.metaKey)) return open(node)
    event.preventDefault()
    if (event.shiftKey) range(at)
    else toggle(at)
    reachable(node)
    node.focus({ preventScroll: true })
    repaint()
  }
  grid.onmousedown = (event) => {
    if (event.shiftKey) event.preventDefault() // no text selection between the two ends of a range
  }
  const actions = new Map(Object.entries(data.keys).map(([action, key]) => [key.toLowerCase(), action]))
  grid.onkeydown = (event) => {
    const node = event.target.closest(".tile")
    if (!node || event.altKey) return
    const at = nodes.indexOf(node)
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "a" || !data.pickable) return
      for (const id of ids) picked.add(id)
      event.preventDefault()
      return repaint()
    }
    const key = event.key
    if (key in MOVES) {
      const step = MOVES[key]
      const by = step === "down" ? columns() : step === "up" ? -columns() : step
      const to = step === "first" ? 0 : step === "last" ? nodes.length - 1 : at + by
      if (data.pickable && event.shiftKey && nodes[to]) {
        grid.lossprintAnchor = picked.size ? (grid.lossprintAnchor ?? ids[at]) : ids[at]
        range(to)
        repaint()
      }
      go(to)
    } else if (key === "Enter" || (key === " " && !data.pickable)) open(node)
    else if (!data.pickable) return
    else if (key === " ") {
      if (event.shiftKey) range(at)
      else toggle(at)
      repaint()
    } else if (key === "Escape" && picked.size) {
      picked.clear()
      repaint()
    } else if (actions.has(key.toLowerCase()) && !event.shiftKey) act(actions.get(key.toLowerCase()))
    else if (/^[0-9]$/.test(key) && data.digits[(Number(key) + 9) % 10] !== undefined)
      act("relabel", data.digits[(Number(key) + 9) % 10])
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
