"""What a member of the tuner's crew answers for AutoTVM and Ansor: candidates, and lines of logs.

Runs there because TVM may hang or crash in it. A request says all that is known of a
workload, so that a member which takes another's place begins where that was.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.errors import reason
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.relay import ansor, autotvm
from tvm_mobilenet.target import TargetSpec


@functools.lru_cache(maxsize=64)
def _search(tuner: str, work_text: str, target_text: str, seed: int) -> Any:
    target = TargetSpec.from_dict(json.loads(target_text))
    search = autotvm.Search if tuner == "autotvm" else ansor.Search
    return search(Workload.parse(work_text), target, seed)


def classic(request: Mapping[str, Any], work: Workload) -> dict[str, Any]:
    """Ask AutoTVM or Ansor for candidates, or for lines of its log.

    Parameters
    ----------
    request : mapping
        ``tuner``: "autotvm" or "ansor"; ``target``: fields of TargetSpec; ``seed``; ``tried``:
        knobs of this workload with their seconds, null where they failed; or ``log``: the
        same, and seconds since the epoch.
    work : Workload

    Returns
    -------
    dict
        ``candidates``: knobs; ``lines``, where asked; or ``failed``: why there are none.
    """
    texts = work.text, json.dumps(request["target"])
    try:
        search = _search(request["tuner"], *texts, request["seed"])
        if "log" in request:
            lines = [search.line(*trial) for trial in request["log"]]
            return {"lines": [line for line in lines if line is not None]}
        search.learn([(knobs, seconds) for knobs, seconds in request["tried"]])
        return {"candidates": search.propose()}
    # TVM raises what its C++ names: this workload has no space there.
    except Exception as error:
        return {"failed": reason(error)[:400]}
