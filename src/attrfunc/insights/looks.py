"""How the page looks."""

from __future__ import annotations

from typing import Any

import gradio as gr

__all__ = ["CSS", "theme"]

# Of the whole page: Gradio would put its own selectors before those that it is given as `css`.
CSS = """
.gradio-container{max-width:84rem!important;margin:auto}
.af-pictures{display:flex;flex-wrap:wrap;gap:1rem}
.af-pictures figure{flex:1 1 18rem;min-width:0;margin:0}
.af-pictures figure img{max-width:100%;height:auto}
.af-small{font-size:.85rem;opacity:.8;margin:.2rem 0}
.af-status{margin:.2rem 0}
.af-status progress{width:min(20rem,50%);vertical-align:middle}
.af-error{border-left:.3rem solid #b2182b;padding:.4rem .7rem;background:#fdecea;color:#5f0f16;overflow-wrap:anywhere}
.af-warned{border-left:.3rem solid #b8860b;padding:.4rem .7rem;background:#fdf6e3;color:#4d3800;overflow-wrap:anywhere}
.af-error code{background:none;color:inherit}
.af-exports p{margin:.2rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
.af-save{text-decoration:underline}
.af-rows .wrap{max-height:24rem;overflow-y:auto;align-content:start}
.af-rows label{overflow-wrap:anywhere}
.gradio-container .af-gallery button.thumbnail-item{display:flex;flex-direction:column;aspect-ratio:auto;height:auto}
.gradio-container .af-gallery button.thumbnail-item img{aspect-ratio:1;height:auto;width:100%}
.gradio-container .af-gallery button.thumbnail-item .caption-label{position:static;max-width:100%;width:100%;border:0;
  border-radius:0;white-space:normal;overflow:visible;font-size:.75rem;opacity:1;color:inherit}
.gradio-container .af-gallery .grid-container{grid-template-columns:repeat(3,minmax(0,1fr))}
.gradio-container :is(input,button,a,textarea,summary):focus-visible{outline:3px solid #1d4ed8!important;
  outline-offset:2px}
.gradio-container label:has(input[type=radio]:focus-visible){outline:3px solid #1d4ed8;outline-offset:1px}
.gradio-container :is(.form,.block){min-width:0!important}
.af-code textarea{font-family:ui-monospace,monospace;font-size:.8rem}
.gradio-container .block:not(:focus-within) ul.options{display:none}
.gradio-container .main.app{max-width:100vw;min-width:0}
.tab-container{overflow-x:auto;min-width:0!important;max-width:100%!important}
@media (max-width:640px){.gradio-container .main.app{padding:.6rem!important}}
"""


def theme() -> Any:
    """Plain colours, and fonts that every machine has: none is loaded from anywhere."""
    local = ("system-ui", "sans-serif")
    return gr.themes.Base(primary_hue="blue", font=local, font_mono=("ui-monospace", "monospace"))
