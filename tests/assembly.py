"""Read what LLVM made of a kernel: its innermost loops, and what they do to the stack.

A loop is innermost if no other loop's blocks lie within it; loops come from the
control flow graph (back edges to a dominator, natural loops), so that a border that
LLVM moved behind the loop's end still counts as part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LABEL = re.compile(r"^([.\w$]+):")
_FUNCTION = re.compile(r"^\s*\.type\s+([\w.$]+),\s*[@%]function")
_COMMENT = {"x86_64": "#", "aarch64": "//", "arm": "@", "riscv64": "#"}
_JUMP = {
    "x86_64": re.compile(r"^j\w+$"),
    "aarch64": re.compile(r"^(b|b\.\w+|cbn?z|tbn?z)$"),
    "arm": re.compile(r"^b(eq|ne|hs|lo|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?$"),
    "riscv64": re.compile(r"^(j|b\w+)$"),
}
_ALWAYS = {"jmp", "b", "j"}

_VECTOR = {
    "x86_64": re.compile(r"%[xyz]mm\d+"),
    "aarch64": re.compile(r"\b[qvds]\d+\b"),
    "arm": re.compile(r"\b[qds]\d+\b"),
    # A vector that is spilled goes whole, however long it is.
    "riscv64": re.compile(r"\bf[tsa]\d+\b|^v[ls]\dr"),
}
_STACK = {
    "x86_64": re.compile(r"\(%rsp[,)]"),
    "aarch64": re.compile(r"\[sp\b"),
    "arm": re.compile(r"\[sp\b"),
    "riscv64": re.compile(r"\(sp\)"),
}
# How a register comes to point into the stack: a frame pointer (which is free for other
# uses where nothing makes it one), or the address of a spilled vector, for loads that
# take no offset.
_INTO_STACK = {
    "x86_64": re.compile(r"^(?:movq\s+%rsp,|leaq\s+[^(]*\(%rsp\),)\s*(%\w+)$"),
    "aarch64": re.compile(r"^(?:mov|add|sub)\s+(x\d+), sp\b"),
    "arm": re.compile(r"^(?:mov|add|sub)\s+([rl]\w+), sp\b"),
    "riscv64": re.compile(r"^(?:mv|addi?)\s+(\w+), sp\b"),
}
_FUSED = {
    "x86_64": re.compile(r"^vfn?m(add|sub)\d+[ps]s$"),
    "aarch64": re.compile(r"^(fml[as]|fn?m(add|sub))$"),
    "arm": re.compile(r"^(vfm[as]|vml[as])(\.f32)?$"),
    "riscv64": re.compile(r"^(fn?m(add|sub)\.s|vfn?m(acc|add|sac|sub)\.v[vf])$"),
}
_MULTIPLY = {
    "x86_64": re.compile(r"^v?mulps$"),
    "aarch64": re.compile(r"^fmul$"),
    "arm": re.compile(r"^vmul\.f32$"),
    "riscv64": re.compile(r"^(fmul\.s|vfmul\.v[vf])$"),
}


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes
    ----------
    function : str
        Whose loop it is: the kernel, if TVM made it from a kernel's body.
    label : str
        Of its first block.
    body : list of str
        Its instructions.
    machine : str
    pointers : frozenset of str
        Registers that the function points into its stack.
    """

    function: str
    label: str
    body: list[str]
    machine: str
    pointers: frozenset[str] = frozenset()

    @property
    def spills(self) -> list[str]:
        """Instructions that take a vector to or from the stack."""
        return [i for i in self.body if _VECTOR[self.machine].search(i) and self._on_stack(i)]

    @property
    def spilled(self) -> list[str]:
        """Of :attr:`spills`, those that store: a value of this iteration had no register.

        The others reload what LLVM took out of a loop around, such as weights.
        """
        return [i for i in self.spills if self._stores(i)]

    @property
    def fused(self) -> int:
        """Number of fused multiply-adds."""
        return sum(bool(_FUSED[self.machine].match(i.split()[0])) for i in self.body)

    @property
    def multiplies(self) -> int:
        """Number of multiplications that are followed by an addition of their own."""
        return sum(bool(_MULTIPLY[self.machine].match(i.split()[0])) for i in self.body)

    def _stores(self, instruction: str) -> bool:
        if self.machine == "x86_64":
            return instruction.endswith(")")  # AT&T: the destination is last
        return instruction.startswith(("st", "vst", "fs", "vs"))

    def _on_stack(self, instruction: str) -> bool:
        if _STACK[self.machine].search(instruction):
            return True
        address = re.search(r"[(\[][^)\]]*[)\]]", instruction)
        registers = set(re.findall(r"%?\w+", address[0])) if address else set()
        return bool(registers & self.pointers)


@dataclass
class _Block:
    label: str
    instructions: list[str] = field(default_factory=list)
    successors: list[str] = field(default_factory=list)


def functions(assembly: str, machine: str) -> dict[str, list[str]]:
    """Split a file into functions: lines of labels and instructions, without directives."""
    comment = _COMMENT[machine]
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for raw in assembly.splitlines():
        if match := _FUNCTION.match(raw):
            current = found.setdefault(match[1], [])
        line = raw.split(comment)[0].strip()
        if not line or current is None:
            continue
        if line.startswith(".size"):
            current = None
        elif _LABEL.match(line) or not line.startswith("."):
            current.append(line)
    return found


def innermost_loops(assembly: str, machine: str) -> Iterator[Loop]:
    """List the innermost loops of every function of an assembly file."""
    kernel = ""
    for name, lines in functions(assembly, machine).items():
        # A kernel's parallel part is a function of its own, behind it and without its name.
        if not name.startswith(".L"):
            kernel = name.removesuffix("_compute_")
        instructions = [line for line in lines if not _LABEL.match(line)]
        matches = (_INTO_STACK[machine].match(i) for i in instructions)
        pointers = frozenset(match[1] for match in matches if match)
        blocks = _reachable(_blocks(lines, machine))
        loops = _natural_loops(blocks)
        for header, members in loops.items():
            if any(other != header and inner <= members for other, inner in loops.items()):
                continue
            body = [i for block in blocks if block.label in members for i in block.instructions]
            yield Loop(kernel, header, body, machine, pointers)


def _blocks(lines: list[str], machine: str) -> list[_Block]:
    jumps = (line.split() for line in lines if _JUMP[machine].match(line.split()[0]))
    targets = {words[-1] for words in jumps}
    blocks = [_Block("entry")]
    ended = False
    for line in lines:
        if match := _LABEL.match(line):
            if match[1] in targets:  # other labels are for debuggers
                blocks.append(_Block(match[1]))
                ended = False
            continue
        if ended:
            blocks.append(_Block(f"behind {len(blocks)}"))
        blocks[-1].instructions.append(line)
        ended = bool(_JUMP[machine].match(line.split()[0])) or _leaves(line, machine)
    labels = {block.label for block in blocks}
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        last = block.instructions[-1].split() if block.instructions else ["nop"]
        if _JUMP[machine].match(last[0]) and last[-1] in labels:
            block.successors.append(last[-1])
        ends = last[0] in _ALWAYS or _leaves(" ".join(last), machine)
        if after is not None and not ends:
            block.successors.append(after.label)
    return blocks


def _leaves(line: str, machine: str) -> bool:
    """Whether an instruction returns from the function."""
    name, *operands = line.split(None, 1)
    if machine == "arm":
        return line == "bx lr" or (name == "pop" and "pc" in operands[0])
    return name in ("ret", "retq")


def _reachable(blocks: list[_Block]) -> list[_Block]:
    by_label = {block.label: block for block in blocks}
    seen: set[str] = set()
    pending = [blocks[0].label]
    while pending:
        label = pending.pop()
        if label not in seen:
            seen.add(label)
            pending.extend(by_label[label].successors)
    return [block for block in blocks if block.label in seen]


def _natural_loops(blocks: list[_Block]) -> dict[str, set[str]]:
    """Return header → blocks, by back edges to a dominator."""
    before: dict[str, set[str]] = {block.label: set() for block in blocks}
    for block in blocks:
        for label in block.successors:
            before[label].add(block.label)
    entry, *labels = before
    dominators = {label: set(before) for label in labels} | {entry: {entry}}
    changed = True
    while changed:
        changed = False
        for label in labels:
            now = set.intersection(*(dominators[b] for b in before[label])) | {label}
            if now != dominators[label]:
                dominators[label], changed = now, True
    loops: dict[str, set[str]] = {}
    for block in blocks:
        for header in block.successors:
            if header not in dominators[block.label]:
                continue
            members, pending = {header}, [block.label]
            while pending:
                label = pending.pop()
                if label not in members:
                    members.add(label)
                    pending.extend(before[label])
            loops.setdefault(header, set()).update(members)
    return loops
