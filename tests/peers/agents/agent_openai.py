"""An agent of the OpenAI Agents SDK (PyPI `openai-agents`) whose model is a script. How it is called: agent_script.py."""

import asyncio
import json
from contextlib import AsyncExitStack

from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from agent_script import Script, arguments


class Scripted(Model):
    def __init__(self, script):
        self.script = script

    async def get_response(self, *, input, tools, **named):
        items = [] if isinstance(input, str) else input
        answers = {item["call_id"]: said(item["output"]) for item in items if item.get("type") == "function_call_output"}
        calls = self.script.turn([tool.name for tool in tools], answers)
        output = [
            ResponseFunctionToolCall(type="function_call", call_id=call, name=tool, arguments=json.dumps(given))
            for call, tool, given in calls
        ]
        return ModelResponse(output=output or [done()], usage=Usage(), response_id=None)

    def stream_response(self, **named):
        raise NotImplementedError


def said(output):
    """A tool's output, as the model gets it: text, or a list of parts."""
    if isinstance(output, str):
        return output
    return "".join(part["text"] for part in output)


def done():
    text = ResponseOutputText(type="output_text", text="done", annotations=[])
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])


def server(gate, patience, attempts):
    common = {"client_session_timeout_seconds": patience, "max_retry_attempts": attempts}
    if "url" in gate:
        headers = {"Authorization": f"Bearer {gate['token']}"}
        return MCPServerStreamableHttp(params={"url": gate["url"], "headers": headers}, **common)
    command, *rest = gate["command"]
    return MCPServerStdio(params={"command": command, "args": rest}, **common)


async def main():
    script, gates, patience, attempts = arguments()
    set_tracing_disabled(True)
    async with AsyncExitStack() as stack:
        tools = [await stack.enter_async_context(server(gate, patience, attempts)) for gate in gates]
        agent = Agent(name="assistant", model=Scripted(script), mcp_servers=tools)
        result = await Runner.run(agent, "go", max_turns=20)
    script.end(result.final_output)


asyncio.run(main())
