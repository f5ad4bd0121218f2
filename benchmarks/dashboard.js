// Runs in every measured page before its own scripts: says when what was waited for has been painted.
// Streamlit's components lie in shadow roots, which neither selectors nor observers reach: each frame, all are asked.
(() => {
  const roots = [], attach = Element.prototype.attachShadow
  Element.prototype.attachShadow = function (options) {
    const root = attach.call(this, options)
    roots.push(root)
    return root
  }
  const all = (selector, within) => [document, ...roots.filter((root) => root.isConnected)].flatMap((root) =>
    !within || root === document || root.host.closest(within)
      ? [...root.querySelectorAll(within && root === document ? within + " " + selector : selector)] : [])
  const text = (selector, words) => all(selector).some((node) => node.textContent.includes(words))
  const loaded = (image) => image.complete && image.naturalWidth > 0
  const seen = (node) => {
    const box = node.getBoundingClientRect()
    return box.width > 0 && box.top < innerHeight && box.bottom > 0
  }
  // The peer's: a list that scrolls within a box of its own
  const pictures = () => all("img").filter((image) => image.src.includes("/images/"))
  const scroller = () => {
    let node = pictures()[0]
    while (node && !(node.scrollHeight > node.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(node).overflowY)))
      node = node.parentElement
    return node
  }
  const inside = () => {
    const box = scroller()?.getBoundingClientRect()
    return !box ? [] : pictures().filter((image) => {
      const mine = image.getBoundingClientRect(), middle = (mine.top + mine.bottom) / 2
      return mine.height > 0 && middle > box.top && middle < box.bottom
    })
  }
  const card = () => all(".card[data-token]").at(-1)
  const ids = () => all(".tile").map((tile) => tile.dataset.id).join()
  const idle = () => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning"
    && !document.querySelector("[data-stale=true], [data-testid=stSkeleton]")
  let images = []
  const checks = {
    button: () => text("[data-testid=stButton] button", "More") && text("[data-testid=stText]", "count"),
    count: (number) => all("[data-testid=stText]").some((node) => node.textContent.trim() === "count " + number),
    overview: () => {
      images = all("img").filter(seen)
      return text("h1", "Overview") && all("[data-testid=stMetric]").length > 2
        && all(".tile img").some(seen) && images.every(loaded)
    },
    whole: (title) => {
      images = all("img")
      return text("h1", title ?? "") && idle() && images.every(loaded)
        && all("[data-testid=stPlotlyChart]").every((chart) => chart.querySelector(".main-svg"))
    },
    tiles: ({ before, count }) => {
      images = all(".tile img")
      return images.length > 0 && (!count || images.length === count) && ids() !== before && images.every(loaded)
    },
    drawer: () => {
      images = all("img", "[role=dialog]")
      return images.length > 0 && images.every(loaded)
        && all(".js-plotly-plot .main-svg .scatterlayer .trace", "[role=dialog]").length > 0
    },
    question: (before) => {
      images = [...(card()?.querySelectorAll(".pictures img") ?? [])]
      return images.length > 0 && card().dataset.token !== before && images.every(loaded)
    },
    pictures: (before) => {
      images = inside()
      return images.every(loaded) && images.some((image) => !before.includes(image.src))
    },
  }
  const until = (name, argument) => new Promise((done) => {
    const look = async () => {
      if (!checks[name](argument)) return requestAnimationFrame(look)
      await Promise.all(images.map((image) => image.decode().catch(() => null)))
      requestAnimationFrame(() => {  // what comes after this frame has been painted
        const channel = new MessageChannel()
        channel.port1.onmessage = () => done(performance.now())
        channel.port2.postMessage(null)
      })
    }
    requestAnimationFrame(look)
  })
  let pressed = null, end = null
  for (const press of ["pointerdown", "keydown"])
    document.addEventListener(press, () => { pressed = performance.now() }, true)
  window.bench = {
    ids, idle, until,
    pictures: () => inside().map((image) => image.src),
    scroll: () => {
      pressed = performance.now()
      scroller().scrollBy({ top: scroller().clientHeight, behavior: "instant" })
    },
    arm: (name, argument) => { pressed = null; end = until(name, argument) },
    took: async () => (await end) - pressed,
  }
})()
