"""Why a goal is not reached, written by hand after measuring: (case, peer) -> reason; the case `*` stands for all."""

WHY: dict[tuple[str, str], str] = {}
