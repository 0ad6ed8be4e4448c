// All text that can be seen whose colour is too near to what it stands on: [{ text, ratio, colour, ground }]. Large text
// (24 px, or 18.66 px bold) needs 3 : 1, other text 4.5 : 1.
() => {
  const parse = (text) => {
    const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
  };
  const over = (top, under) => [0, 1, 2].map((part) => top[part] * top[3] + under[part] * (1 - top[3])).concat(1);
  const light = ([red, green, blue]) => {
    const linear = [red, green, blue].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ratio = (one, other) => {
    const [most, least] = [light(one), light(other)].sort((a, b) => b - a);
    return (most + 0.05) / (least + 0.05);
  };
  const ground = (node) => {
    const box = node.closest(".node")?.querySelector(".box");
    const layers = [];
    if (box) layers.push(parse(getComputedStyle(box).fill));
    for (let one = node; one !== null; one = one.parentElement)
      layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = [];
  let looked = 0;
  const check = (node, text, style) => {
    const isDrawn = node instanceof SVGElement;
    const back = ground(node);
    const colour = over(parse(isDrawn ? style.fill : style.color), back);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const got = ratio(colour, back);
    looked += 1;
    if (got < needed)
      found.push({
        text: text.slice(0, 40),
        ratio: Number(got.toFixed(2)),
        colour: colour.join(),
        ground: back.join(),
      });
  };
  for (const node of document.querySelectorAll("body *")) {
    if (
      !node.checkVisibility({ visibilityProperty: true }) ||
      node.localName === "title" ||
      node.localName === "option"
    )
      continue;
    const text = [...node.childNodes]
      .filter((child) => child.nodeType === Node.TEXT_NODE)
      .map((child) => child.data.trim())
      .join(" ")
      .trim();
    if (text !== "") check(node, text, getComputedStyle(node));
    if (node.localName === "input" && node.placeholder)
      check(node, node.placeholder, getComputedStyle(node, "::placeholder"));
    if (node.localName === "select") check(node, node.value, getComputedStyle(node));
    if (node.localName === "td") check(node, node.dataset.head ?? "", getComputedStyle(node, "::before"));
  }
  return { found, looked };
};
