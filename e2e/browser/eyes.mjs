// Two looks at a page that people make with their eyes and ears: which texts are too faint to read,
// and which controls a screen reader could not name.

/** Runs in the page: texts whose contrast is below WCAG 2.2 §1.4.3 (4.5, or 3 for large ones). */
export function faintTexts() {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const light = ({ rgb }) => {
    const [r, g, b] = rgb.map((byte) => {
      const part = byte / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { rgb: [255, 255, 255], a: 1 };
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("noscript")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [light(ink), light(ground(element))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${node.data.trim()}`);
  }
  return faint;
}

/** Of an accessibility tree: the controls without a name. */
export function namelessControls(nodes) {
  const controls = new Set(["button", "link", "textbox", "checkbox", "combobox", "img", "region"]);
  return nodes
    .filter((node) => !node.ignored && controls.has(node.role?.value) && !node.name?.value)
    .map((node) => `${node.role.value} without a name`);
}
