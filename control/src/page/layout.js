// Where the nodes and lines of the map lie. Pure: names, lines and sizes in, places out; the same world always gets the
// same places.
//
// Layers from left to right by the longest path from a caller; lines over several layers get a lane of their own in
// each; within a layer the order that crosses least (barycentres, a few sweeps), then heights as near to the neighbours'
// as there is room.

const SWEEPS = 8;

/**
 * Places `nodes` ({ id, width, height, right? }) and `edges` ({ key, from, to }), which name nodes. A node with `right`
 * stands right of the first layer though nobody calls it. `gaps`: { layer, node, lane }, in pixels.
 *
 * Returns { width, height, layers, nodes: Map id → { x, y, width, height, layer }, edges: Map key → { path, tip, back } }:
 * `tip` is where the line ends, `back` whether it leads back, or to its own layer.
 */
export function layout(nodes, edges, gaps) {
  const ranks = rank(nodes, edges);
  const graph = withLanes(nodes, edges, ranks, gaps);
  order(graph);
  lift(graph, gaps.node);
  return place(graph, edges, gaps);
}

/** The layer of each node. Lines that close a circle don't count. */
function rank(nodes, edges) {
  const out = new Map(nodes.map((node) => [node.id, []]));
  const called = new Set();
  for (const edge of edges) {
    if (edge.from === edge.to) continue;
    out.get(edge.from).push(edge.to);
    called.add(edge.to);
  }
  for (const targets of out.values()) targets.sort();
  const found = []; // callers come after all that they call
  const seen = new Map(); // id → whether it is still being followed
  const forward = new Map(nodes.map((node) => [node.id, []]));
  const follow = (id) => {
    seen.set(id, true);
    for (const target of out.get(id)) {
      if (seen.get(target) === true) continue; // closes a circle
      forward.get(id).push(target);
      if (!seen.has(target)) follow(target);
    }
    seen.set(id, false);
    found.push(id);
  };
  const byName = nodes.map((node) => node.id).sort();
  for (const id of byName) if (!called.has(id)) follow(id);
  for (const id of byName) if (!seen.has(id)) follow(id);
  const ranks = new Map(
    nodes.map((node) => [node.id, node.right && !called.has(node.id) && out.get(node.id).length === 0 ? 1 : 0]),
  );
  for (const id of found.reverse()) {
    for (const target of forward.get(id)) ranks.set(target, Math.max(ranks.get(target), ranks.get(id) + 1));
  }
  const least = Math.min(...ranks.values());
  for (const [id, value] of ranks) ranks.set(id, value - least);
  return ranks;
}

/** Layers of nodes and lanes, and who is a neighbour of whom in the layer before and after. */
function withLanes(nodes, edges, ranks, gaps) {
  const layers = [];
  const into = (layer, spot) => {
    while (layers.length <= layer) layers.push([]);
    layers[layer].push(spot);
    return spot;
  };
  const spots = new Map();
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const spot = { ...node, layer: ranks.get(node.id), before: [], after: [] };
    spots.set(node.id, into(spot.layer, spot));
  }
  const lanes = new Map();
  for (const edge of edges) {
    let [left, right] = [spots.get(edge.from), spots.get(edge.to)];
    if (left === right) continue;
    if (left.layer > right.layer) [left, right] = [right, left];
    const lane = [];
    for (let layer = left.layer + 1; layer < right.layer; layer += 1) {
      lane.push(into(layer, { lane: true, layer, height: gaps.lane, before: [], after: [] }));
    }
    lanes.set(edge.key, lane);
    if (left.layer === right.layer) continue;
    const way = [left, ...lane, right];
    for (let step = 1; step < way.length; step += 1) {
      way[step - 1].after.push(way[step]);
      way[step].before.push(way[step - 1]);
    }
  }
  return { layers, spots, lanes };
}

/** Orders each layer by the mean place of its neighbours, from left and from right in turn. */
function order({ layers }) {
  const number = (layer) => layer.forEach((spot, place) => (spot.place = place));
  layers.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const side = sweep % 2 === 0 ? "before" : "after";
    for (const layer of sweep % 2 === 0 ? layers : [...layers].reverse()) {
      for (const spot of layer) {
        spot.pull = spot[side].length > 0 ? mean(spot[side].map((other) => other.place)) : spot.place;
      }
      layer.sort((a, b) => a.pull - b.pull || a.place - b.place);
      number(layer);
    }
  }
}

/** Heights: each spot as near to the middle of its neighbours as there is room. No layer is higher than the fullest. */
function lift({ layers }, gap) {
  const full = (layer) => layer.reduce((sum, spot) => sum + spot.height + gap, -gap);
  const room = Math.max(0, ...layers.map(full));
  for (const layer of layers) {
    let y = (room - full(layer)) / 2;
    for (const spot of layer) {
      spot.y = y;
      y += spot.height + gap;
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const fromLeft = sweep % 2 === 0;
    for (const layer of fromLeft ? layers : [...layers].reverse()) {
      const wanted = layer.map((spot) => {
        const near = fromLeft ? spot.before : spot.after;
        const all = near.length > 0 ? near : [...spot.before, ...spot.after];
        return (all.length > 0 ? mean(all.map(middle)) : middle(spot)) - spot.height / 2;
      });
      settle(layer, wanted, gap, room);
    }
  }
}

/** Moves spots to where they are wanted, without touching each other and within the room. */
function settle(layer, wanted, gap, room) {
  let free = -Infinity;
  layer.forEach((spot, index) => {
    spot.y = Math.max(wanted[index], free);
    free = spot.y + spot.height + gap;
  });
  // Pushing down alone would let a layer sink.
  const sunk = mean(layer.map((spot, index) => spot.y - wanted[index]));
  free = 0;
  for (const spot of layer) {
    spot.y = Math.max(spot.y - sunk, free);
    free = spot.y + spot.height + gap;
  }
  free = room;
  for (const spot of [...layer].reverse()) {
    spot.y = Math.min(spot.y, free - spot.height);
    free = spot.y - gap;
  }
}

/** Coordinates, and the lines between them. */
function place({ layers, spots, lanes }, edges, gaps) {
  let x = 0;
  let top = Infinity;
  let bottom = -Infinity;
  for (const layer of layers) {
    const width = Math.max(0, ...layer.filter((spot) => !spot.lane).map((spot) => spot.width));
    for (const spot of layer) {
      spot.x = x;
      if (spot.lane) spot.width = width;
      top = Math.min(top, spot.y);
      bottom = Math.max(bottom, spot.y + spot.height);
    }
    x += width + gaps.layer;
  }
  for (const layer of layers) for (const spot of layer) spot.y = Math.round(spot.y - top);
  const ports = portsOf(spots, edges, lanes);
  const lines = new Map(edges.map((edge) => [edge.key, line(edge, spots, lanes, ports, gaps)]));
  const width = Math.max(0, x - gaps.layer);
  return { width, height: Math.max(0, Math.round(bottom - top)), layers: layers.length, nodes: spots, edges: lines };
}

/** Where on its side of a node each line begins and ends: spread out, in the order of what is at the other end. */
function portsOf(spots, edges, lanes) {
  const ports = new Map(edges.map((edge) => [edge.key, {}]));
  for (const [end, other] of [
    ["from", "to"],
    ["to", "from"],
  ]) {
    const at = Map.groupBy(edges, (edge) => edge[end]);
    for (const [id, lines] of at) {
      const spot = spots.get(id);
      const height = (edge) =>
        middle((end === "from" ? lanes.get(edge.key)?.[0] : lanes.get(edge.key)?.at(-1)) ?? spots.get(edge[other]));
      const sorted = lines
        .map((edge) => [height(edge), edge])
        .sort((a, b) => a[0] - b[0] || (a[1].key < b[1].key ? -1 : 1));
      sorted.forEach(([, edge], index) => {
        ports.get(edge.key)[end] = spot.y + (spot.height * (index + 0.5)) / sorted.length;
      });
    }
  }
  return ports;
}

/** The line of a call: curves between layers, straight along its lanes, level before its tip, where words may stand. */
function line(edge, spots, lanes, ports, gaps) {
  const from = spots.get(edge.from);
  const to = spots.get(edge.to);
  const port = ports.get(edge.key);
  const end = { x: to.x, y: port.to };
  let [x, y] = [from.x + from.width, port.from];
  if (from.layer >= to.layer) {
    // Backwards, or within a layer: out on the right, round, and in from the left.
    const bend = Math.min(60, gaps.layer / 3);
    const over = from === to ? from.y - 14 : (y + end.y) / 2;
    const path =
      `M${x} ${y}C${x + bend} ${y} ${x + bend} ${over} ${x} ${over}L${end.x} ${over}` +
      `C${end.x - bend} ${over} ${end.x - bend} ${end.y} ${end.x} ${end.y}`;
    return { path, tip: end, back: true };
  }
  let path = `M${x} ${y}`;
  const bow = (toX, toY) => {
    const half = (toX - x) / 2;
    path += `C${x + half} ${y} ${toX - half} ${toY} ${toX} ${toY}`;
    [x, y] = [toX, toY];
  };
  for (const lane of lanes.get(edge.key)) {
    bow(lane.x, middle(lane));
    x = lane.x + lane.width;
    path += `H${x}`;
  }
  bow(end.x - gaps.words, end.y);
  return { path: `${path}H${end.x}`, tip: end, back: false };
}

const middle = (spot) => spot.y + spot.height / 2;
const mean = (values) => (values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length);
