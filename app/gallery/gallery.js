// The thumbnail grid. Data comes from datasets that nobody vetted: all text is set through textContent.

function element(tag, className, text) {
  const node = document.createElement(tag)
  node.className = className
  if (text !== undefined) node.textContent = text
  return node
}

function picture(tile) {
  const frame = element("div", "frame")
  if (tile.src) {
    const image = element("img", tile.pixelated ? "pixelated" : "")
    image.alt = tile.alt
    image.decoding = "async"
    image.draggable = false
    image.src = tile.src
    frame.append(image)
  } else {
    const missing = element("div", "missing", "image not readable")
    missing.setAttribute("role", "img")
    missing.setAttribute("aria-label", tile.alt + ", image not readable")
    frame.append(missing)
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

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const grid = parentElement.querySelector(".grid")
  if (!grid || !data) return

  grid.style.setProperty("--tile", data.width + "px")
  grid.style.setProperty("--columns", data.columns ?? "auto-fill")
  grid.style.setProperty("--least", data.columns ? "0px" : "46%")
  grid.classList.toggle("fixed", Boolean(data.columns))
  grid.setAttribute("aria-label", data.label)
  grid.setAttribute("role", data.clickable ? "listbox" : "list")

  // Rebuild only when the tiles changed: a rerun that changes nothing keeps the focus where it is.
  const stamp = JSON.stringify([data.clickable, data.tiles])
  if (grid.lossprintStamp !== stamp) {
    grid.lossprintStamp = stamp
    grid.replaceChildren(
      ...data.tiles.map((tile) => {
        const node = element("div", "tile")
        node.dataset.id = tile.id
        node.setAttribute("role", data.clickable ? "option" : "listitem")
        node.setAttribute("aria-label", describe(tile))
        node.append(picture(tile), caption(tile))
        return node
      }),
    )
  }

  const nodes = [...grid.children]
  const mark = (id) => {
    for (const node of nodes) {
      const on = id !== null && node.dataset.id === String(id)
      node.classList.toggle("selected", on)
      if (data.clickable) node.setAttribute("aria-selected", on ? "true" : "false")
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
    return
  }

  const reachable = (node) => {
    for (const other of nodes) other.tabIndex = other === node ? 0 : -1
  }
  const chosen = nodes.find((node) => node.classList.contains("selected"))
  if (!nodes.some((node) => node.tabIndex === 0)) reachable(chosen ?? nodes[0])
  const open = (node) => {
    mark(node.dataset.id)
    reachable(node)
    setTriggerValue("open", Number(node.dataset.id))
  }
  const columns = () => {
    const top = nodes[0].offsetTop
    const next = nodes.findIndex((node) => node.offsetTop !== top)
    return next < 1 ? nodes.length : next
  }

  grid.onclick = (event) => {
    const node = event.target.closest(".tile")
    if (node) open(node)
  }
  grid.onkeydown = (event) => {
    const node = event.target.closest(".tile")
    if (!node || event.altKey || event.ctrlKey || event.metaKey) return
    const at = nodes.indexOf(node)
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }
    let to = null
    if (event.key in moves) to = at + moves[event.key]
    else if (event.key === "Home") to = 0
    else if (event.key === "End") to = nodes.length - 1
    else if (event.key === "Enter" || event.key === " ") open(node)
    else return
    event.preventDefault()
    if (to !== null && nodes[to]) {
      reachable(nodes[to])
      nodes[to].focus()
      nodes[to].scrollIntoView({ block: "nearest" })
    }
  }
}
