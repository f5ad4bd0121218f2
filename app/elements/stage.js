// One picture to look into, or several that move together: zoom and pan by wheel, touch, pointer and keys; brightness
// and contrast; and of files with more than 8 bits a window over the file's own values.

const MOST = 40
const PLAIN = { brightness: 1, contrast: 1 }

// The file's values, 16 bits each between `least` and `greatest`, drawn through a window.
function windowed(canvas, deep, centre, width) {
  if (canvas.lossprintSource !== deep.data) {
    const bytes = Uint8Array.from(atob(deep.data), (one) => one.charCodeAt(0))
    canvas.lossprintValues = new Uint16Array(bytes.buffer)
    canvas.lossprintSource = deep.data
    canvas.width = deep.width
    canvas.height = deep.height
  }
  const step = (deep.greatest - deep.least) / 65535
  const low = centre - width / 2
  const levels = new Uint8ClampedArray(65536)
  for (let at = 0; at < 65536; at += 1) {
    const level = (255 * (deep.least + at * step - low)) / Math.max(width, 1e-12)
    levels[at] = deep.inverted ? 255 - Math.min(255, Math.max(0, level)) : level
  }
  const pen = canvas.getContext("2d")
  const picture = pen.createImageData(deep.width, deep.height)
  canvas.lossprintValues.forEach((value, at) => {
    picture.data.fill(levels[value], 4 * at, 4 * at + 3)
    picture.data[4 * at + 3] = 255
  })
  pen.putImageData(picture, 0, 0)
}

// `stages` share `state` (zoom, x, y, brightness, contrast, centre, span); `size` is the picture's own.
function looking(stages, state, size, painted) {
  const first = stages[0]
  const own = () => size.width / Math.min(first.clientWidth, (first.clientHeight * size.width) / size.height)
  const paint = () => {
    const far = (state.zoom - 1) / 2
    state.x = Math.min(far * first.clientWidth, Math.max(-far * first.clientWidth, state.x))
    state.y = Math.min(far * first.clientHeight, Math.max(-far * first.clientHeight, state.y))
    for (const stage of stages) {
      for (const picture of stage.querySelectorAll("img, canvas")) {
        picture.style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`
        picture.style.filter = `brightness(${state.brightness}) contrast(${state.contrast})`
      }
      stage.classList.toggle("zoomed", state.zoom > 1)
    }
    painted?.(own())
  }
  const zoom = (to, x = 0, y = 0) => {
    const next = Math.min(MOST, Math.max(1, to))
    state.x = x - ((x - state.x) * next) / state.zoom
    state.y = y - ((y - state.y) * next) / state.zoom
    state.zoom = next
    paint()
  }
  const pan = (x, y) => {
    state.x += x
    state.y += y
    paint()
  }
  const light = (name, by) => {
    state[name] = Math.min(4, Math.max(0.1, state[name] * by))
    paint()
  }
  const middle = (stage, event) => {
    const box = stage.getBoundingClientRect()
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2]
  }
  for (const stage of stages) {
    const fingers = new Map()
    const apart = () => {
      const [one, two] = [...fingers.values()]
      return Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY)
    }
    stage.ondblclick = (event) => zoom(state.zoom > 1 ? 1 : 3, ...middle(stage, event))
    stage.onwheel = (event) => {
      const focused = stage.getRootNode().activeElement === stage
      if (state.zoom === 1 && !event.ctrlKey && !focused) return // the page scrolls on, until somebody looks into it
      event.preventDefault()
      zoom(state.zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2), ...middle(stage, event))
    }
    stage.onpointerdown = (event) => {
      fingers.set(event.pointerId, event)
      if (state.zoom > 1 || fingers.size > 1 || event.altKey || event.button === 2) stage.setPointerCapture(event.pointerId)
    }
    stage.onpointermove = (event) => {
      const before = fingers.get(event.pointerId)
      if (!before) return
      const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY]
      const far = fingers.size === 2 ? apart() : 0
      fingers.set(event.pointerId, event)
      if (far) zoom((state.zoom * apart()) / far, ...middle(stage, event))
      else if (before.altKey || before.buttons === 2) state.level?.(x, y)
      else if (state.zoom > 1) pan(x, y)
    }
    stage.onpointerup = stage.onpointercancel = (event) => fingers.delete(event.pointerId)
    stage.oncontextmenu = (event) => state.level && event.preventDefault()
    stage.onkeydown = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      const step = 40
      const by = event.shiftKey ? 1 / 1.1 : 1.1
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }
      if (event.key === "+" || event.key === "=") zoom(state.zoom * 1.5)
      else if (event.key === "-") zoom(state.zoom / 1.5)
      else if (event.key === "0") zoom(1)
      else if (event.key.toLowerCase() === "b") light("brightness", by)
      else if (event.key.toLowerCase() === "c") light("contrast", by)
      else if (event.key in moves && state.zoom > 1) pan(...moves[event.key])
      else return
      event.preventDefault()
      event.stopPropagation()
    }
    if (!stage.lossprintSize) {
      stage.lossprintSize = new ResizeObserver(() => stage.lossprintPaint())
      stage.lossprintSize.observe(stage)
    }
    stage.lossprintPaint = paint
  }
  return { zoom, pan, paint, own }
}
