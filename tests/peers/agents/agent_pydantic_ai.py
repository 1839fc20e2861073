"""An agent of pydantic-ai (PyPI `pydantic-ai-slim`) whose model is a script. How it is called: agent_script.py."""

import asyncio

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

from agent_script import arguments


def said(part):
    """What the model is told of a call: its result, or that it is to try again."""
    return part.model_response() if isinstance(part, RetryPromptPart) else part.model_response_str()


def model(script):
    def respond(messages, info):
        parts = [part for message in messages for part in message.parts]
        answers = {part.tool_call_id: said(part) for part in parts if isinstance(part, ToolReturnPart | RetryPromptPart)}
        calls = script.turn([tool.name for tool in info.function_tools], answers)
        asked = [ToolCallPart(tool, given, tool_call_id=call) for call, tool, given in calls]
        return ModelResponse(parts=asked or [TextPart("done")])

    return FunctionModel(respond)


def transport(gate):
    if "url" in gate:
        return StreamableHttpTransport(gate["url"], headers={"Authorization": f"Bearer {gate['token']}"})
    command, *rest = gate["command"]
    return StdioTransport(command, rest)


async def main():
    script, gates, patience, _ = arguments()
    tools = [MCPToolset(transport(gate), init_timeout=patience, read_timeout=patience) for gate in gates]
    agent = Agent(model(script), toolsets=tools)
    async with agent:
        result = await agent.run("go")
    script.end(result.output)


asyncio.run(main())
