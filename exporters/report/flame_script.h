// What makes the SVG flame graph interactive: its stylesheet and its script.
#pragma once

#include <string_view>

namespace hotpath::report {

inline constexpr std::string_view kFlameStyle = R"css(
text{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1d2329;
white-space:pre;pointer-events:none}
.h{font:600 17px system-ui,'Segoe UI',Roboto,sans-serif}
.l{font:12px system-ui,'Segoe UI',Roboto,sans-serif;fill:#525c66}
.f{cursor:pointer}.f:hover rect{stroke:#1d2329;stroke-width:1}
.f.up{opacity:.55}.f.hit rect{fill:#ffe14d;stroke:#b58900;stroke-width:.7}
.f.off{display:none}
input{font:13px system-ui,sans-serif;padding:3px 8px;width:216px;border:1px solid #b9c0c7;
border-radius:5px;background:#fff;color:#1d2329}
)css";

// Places come from data-x and data-w (shares of the total), so that a new window width or zoom is
// one pass over the frames.
inline constexpr std::string_view kFlameScript = R"js(
(function () {
  'use strict';
  var svg = document.documentElement, NS = svg.namespaceURI;
  var margin = +svg.dataset.margin, charWidth = +svg.dataset.char;
  var details = document.getElementById('details'), info = details.textContent;
  var width = 1200, zoom = {x: 0, w: 1, d: 0}, found = '';
  var frames = Array.prototype.map.call(document.querySelectorAll('.f'), function (g) {
    var tip = g.querySelector('title').textContent;
    return {g: g, rect: g.querySelector('rect'), text: g.querySelector('text'), tip: tip,
            name: tip.replace(/ \([^()]*\)$/, ''), x: +g.dataset.x, w: +g.dataset.w,
            d: +g.dataset.d};
  });
  function layout() {
    var inner = width - 2 * margin, end = zoom.x + zoom.w, slack = 1e-6;
    frames.forEach(function (f) {
      var above = f.d < zoom.d && f.x <= zoom.x + slack && f.x + f.w >= end - slack;
      var inside = f.d >= zoom.d && f.x >= zoom.x - slack && f.x + f.w <= end + slack;
      f.g.classList.toggle('off', !above && !inside);
      f.g.classList.toggle('up', above);
      if (!above && !inside) return;
      var x = above ? margin : margin + (f.x - zoom.x) / zoom.w * inner;
      var w = above ? inner : Math.max(f.w / zoom.w * inner, 0.3);
      f.rect.setAttribute('x', x);
      f.rect.setAttribute('width', w);
      f.text.setAttribute('x', x + 3);
      var room = Math.floor((w - 6) / charWidth);
      f.text.textContent = room < 3 ? '' :
          f.name.length <= room ? f.name : f.name.slice(0, room - 1) + '…';
    });
  }
  function resize() {
    var bar = +svg.getAttribute('height') > window.innerHeight ? 18 : 0;  // A scroll bar's.
    width = Math.max((window.innerWidth || 1200) - bar, 480);
    svg.setAttribute('width', width);
    svg.setAttribute('viewBox', '0 0 ' + width + ' ' + svg.getAttribute('height'));
    box.setAttribute('x', width - 250);
    layout();
  }
  function search(pattern) {
    var re = null, spans = [], sum = 0, end = -1;
    try { re = pattern ? new RegExp(pattern, 'i') : null; } catch (e) { re = null; }
    frames.forEach(function (f) {
      var hit = !!re && f.d > 0 && re.test(f.name);
      f.g.classList.toggle('hit', hit);
      if (hit) spans.push(f);
    });
    spans.sort(function (a, b) { return a.x - b.x || b.w - a.w; }).forEach(function (f) {
      if (f.x + f.w <= end + 1e-9) return;
      sum += f.x + f.w - Math.max(f.x, end);
      end = f.x + f.w;
    });
    found = re ? ' · matched ' + (100 * sum).toFixed(2) + '%' : '';
    details.textContent = info + found;
  }
  var box = document.createElementNS(NS, 'foreignObject');
  box.setAttribute('y', 12); box.setAttribute('width', 240); box.setAttribute('height', 34);
  var input = document.createElementNS('http://www.w3.org/1999/xhtml', 'input');
  input.setAttribute('placeholder', 'Search ( / )');
  input.addEventListener('input', function () { search(input.value); });
  box.appendChild(input);
  svg.appendChild(box);
  frames.forEach(function (f) {
    f.g.addEventListener('click', function () { zoom = {x: f.x, w: f.w, d: f.d}; layout(); });
    f.g.addEventListener('mouseenter', function () { details.textContent = f.tip; });
    f.g.addEventListener('mouseleave', function () { details.textContent = info + found; });
  });
  window.addEventListener('keydown', function (e) {
    if (e.key === '/' && document.activeElement !== input) { e.preventDefault(); input.focus(); }
    if (e.key === 'Escape') {
      input.value = ''; search(''); input.blur(); zoom = {x: 0, w: 1, d: 0}; layout();
    }
  });
  window.addEventListener('resize', resize);
  resize();
})();
)js";

}  // namespace hotpath::report
