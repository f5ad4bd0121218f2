// One image, large: fitted to its frame, in its own size, or zoomed. The alternative text is set as text.

const MOST = 40

export default function (component) {
  const { data, parentElement } = component
  const stage = parentElement.querySelector(".stage")
  if (!stage || !data) return
  const image = stage.querySelector("img")
  const tools = parentElement.querySelector(".tools")
  const percent = tools.querySelector(".percent")
  stage.style.setProperty("--limit", data.limit + "px")
  stage.style.setProperty("--ratio", data.width + " / " + data.height)
  image.alt = data.alt
  image.classList.toggle("pixelated", data.pixelated)

  const state = (stage.lossprint ??= { src: null })
  if (state.src !== data.src) {
    Object.assign(state, { src: data.src, zoom: 1, x: 0, y: 0 })
    image.src = data.src
  }
  // Zoom 1 is fitted; the image's own pixels are at `own`.
  const own = () => data.width / Math.min(stage.clientWidth, (stage.clientHeight * data.width) / data.height)
  const paint = () => {
    const far = (state.zoom - 1) / 2
    state.x = Math.min(far * stage.clientWidth, Math.max(-far * stage.clientWidth, state.x))
    state.y = Math.min(far * stage.clientHeight, Math.max(-far * stage.clientHeight, state.y))
    image.style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`
    stage.classList.toggle("zoomed", state.zoom > 1)
    if (stage.clientWidth) percent.textContent = Math.round((100 * state.zoom) / own()) + " %"
  }
  const zoom = (to) => {
    const next = Math.min(MOST, Math.max(1, to))
    state.x *= next / state.zoom
    state.y *= next / state.zoom
    state.zoom = next
    paint()
  }
  const pan = (x, y) => {
    state.x += x
    state.y += y
    paint()
  }
  tools.querySelector(".in").onclick = () => zoom(state.zoom * 1.5)
  tools.querySelector(".out").onclick = () => zoom(state.zoom / 1.5)
  tools.querySelector(".fit").onclick = () => zoom(1)
  tools.querySelector(".own").onclick = () => zoom(own())
  tools.querySelector(".own").disabled = own() <= 1
  const crisp = tools.querySelector(".crisp")
  const pressed = () => crisp.setAttribute("aria-pressed", String(image.classList.contains("pixelated")))
  crisp.onclick = () => {
    image.classList.toggle("pixelated")
    pressed()
  }
  pressed()
  stage.ondblclick = () => zoom(state.zoom > 1 ? 1 : 3)
  stage.onwheel = (event) => {
    if (state.zoom === 1 && !event.ctrlKey) return // the page scrolls on, unless somebody has begun to zoom
    event.preventDefault()
    zoom(state.zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2))
  }
  stage.onpointerdown = (event) => {
    if (state.zoom === 1) return
    stage.setPointerCapture(event.pointerId)
    stage.onpointermove = (move) => pan(move.movementX, move.movementY)
  }
  stage.onpointerup = stage.onpointercancel = () => {
    stage.onpointermove = null
  }
  stage.onkeydown = (event) => {
    const step = 40
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }
    if (event.key === "+" || event.key === "=") zoom(state.zoom * 1.5)
    else if (event.key === "-") zoom(state.zoom / 1.5)
    else if (event.key === "0") zoom(1)
    else if (event.key in moves && state.zoom > 1) pan(...moves[event.key])
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  paint()
  if (!stage.lossprintSize) {
    stage.lossprintSize = new ResizeObserver(() => stage.lossprintPaint())
    stage.lossprintSize.observe(stage)
  }
  stage.lossprintPaint = paint
}
