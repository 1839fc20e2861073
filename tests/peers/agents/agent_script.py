"""What the agents of agent_*.py have in common: a model that is a script, and what is told of what it sees.

    agent_FRAMEWORK.py SCRIPT GATES [PATIENCE ATTEMPTS]

SCRIPT is a JSON array of turns, each an array of the calls that the model asks for at once: `[TOOL, ARGUMENTS]`; before a turn may
stand the name of a file, for which the model waits. GATES is an
array of `{"command": [...]}` and `{"url": ..., "token": ...}`: as many MCP servers to the agent. PATIENCE is how many seconds it waits for
an answer, ATTEMPTS how often a framework that can do so asks again by itself. Prints one JSON line a turn: `tools`, the names that
the model is shown, and `answers`, what each call of the turn before came to, in the order of the script; and a last one,
`final`, with what the agent said.

Call ids are fresh for each call, as models make them.
"""

import json
import pathlib
import sys
import time
import uuid


class Script:
    def __init__(self, turns):
        self.turns = iter(turns)
        self.asked = []

    def turn(self, tools, answers):
        """The calls of the next turn as `(id, tool, arguments)`; none at the end. `answers` is by id, of all turns so far."""
        told = {"tools": list(tools), "answers": [answers.get(call) for call in self.asked]}
        print(json.dumps(told), flush=True)
        turn = next(self.turns, [])
        if isinstance(turn, str):
            appeared(pathlib.Path(turn))
            turn = next(self.turns)
        calls = [(uuid.uuid4().hex, tool, given) for tool, given in turn]
        self.asked = [call for call, _, _ in calls]
        return calls

    def end(self, final):
        print(json.dumps({"final": final}), flush=True)


def appeared(file):
    while not file.exists():
        time.sleep(0.01)


def arguments():
    """The script, the gates, and how long and how often."""
    turns, gates, *more = [json.loads(word) for word in sys.argv[1:]]
    patience, attempts = more or (60, 0)
    return Script(turns), gates, patience, attempts
