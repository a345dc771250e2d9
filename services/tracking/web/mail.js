// The text of an e-mail, whatever was in it: no script, no style, no picture from elsewhere ever comes out of here.

const LEFT_OUT = new Set(["SCRIPT", "STYLE", "HEAD", "TITLE", "NOSCRIPT", "TEMPLATE", "IFRAME", "OBJECT", "SVG", "svg", "MATH", "math"]);
const BLOCKS = new Set(
  "ADDRESS ARTICLE ASIDE BLOCKQUOTE CENTER DD DIV DL DT FIELDSET FIGURE FOOTER FORM H1 H2 H3 H4 H5 H6 HEADER HR LI MAIN NAV OL P PRE SECTION TABLE TR UL".split(" "),
);
const APART = new Set(["P", "H1", "H2", "H3", "H4", "H5", "H6", "UL", "OL", "TABLE", "BLOCKQUOTE", "PRE"]);

const KEPT = [/\shref\s*=\s*("https?:[^"]*"|'https?:[^']*'|https?:[^\s>]+)/i, /\salt\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/i];

export function textOf(html) {
  const out = new Text();
  read(new DOMParser().parseFromString(bare(html), "text/html").body, out, false);
  return out.whole();
}

// Without its attributes: a handler or a style that is never applied is a breach of the page's policy all the same.
function bare(html) {
  return html
    .replace(/<(style|script)\b[\s\S]*?<\/\1\s*>/gi, "")
    .replace(/<([a-z][^\s/>"'<]*)((?:"[^"]*"|'[^']*'|[^"'<>])*)>/gi, (_, tag, attributes) => `<${tag}${KEPT.map((name) => name.exec(attributes)?.[0] ?? "").join("")}>`);
}

// Text as it grows: spaces are squeezed as a browser would, and lines are kept apart as blocks are.
class Text {
  parts = [];
  last = "\n";
  lines = 2; // line ends at its end; as many as it can have, as long as it is empty

  add(text) {
    if (!text) return;
    this.parts.push(text);
    this.last = text.at(-1);
    this.lines = /^\n*$/.test(text) ? this.lines + text.length : /\n*$/.exec(text)[0].length;
  }

  squeezed(text) {
    const one = text.replace(/\s+/g, " ");
    this.add(this.last === "\n" || this.last === " " ? one.trimStart() : one);
  }

  apart(lines) {
    this.add("\n".repeat(Math.max(0, lines - this.lines)));
  }

  whole() {
    return this.parts.join("").replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
  }
}

function read(node, out, verbatim) {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) verbatim ? out.add(child.data) : out.squeezed(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE && !LEFT_OUT.has(child.tagName)) element(child, out, verbatim);
  }
}

function element(child, out, verbatim) {
  const tag = child.tagName;
  if (tag === "BR") return out.add("\n");
  if (tag === "IMG") return out.add(child.alt.trim() && `[${child.alt.trim()}]`);
  const lines = APART.has(tag) ? 2 : BLOCKS.has(tag) ? 1 : 0;
  out.apart(lines);
  if (tag === "HR") out.add("———");
  if (tag === "LI") out.add("• ");
  read(child, out, verbatim || tag === "PRE");
  if (tag === "A") out.add(elsewhere(child));
  if (tag === "TD" || tag === "TH") out.add("  ");
  out.apart(lines);
}

// Where a link really leads, when its text says something else.
function elsewhere(link) {
  const host = /^https?:\/\/([^/?#\s]+)/i.exec(link.getAttribute("href") ?? "")?.[1];
  return host && !link.textContent.includes(host) ? ` (${host})` : "";
}
