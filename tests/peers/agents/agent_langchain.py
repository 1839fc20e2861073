"""An agent of LangChain (PyPI `langchain`, tools by `langchain-mcp-adapters`) whose model is a script. How it is called:
agent_script.py."""

import asyncio
from contextlib import AsyncExitStack

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from agent_script import Script, arguments


class Scripted(BaseChatModel):
    script: Script
    shown: list[str] = []
    model_config = {"arbitrary_types_allowed": True}

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **named):
        return self.model_copy(update={"shown": [tool.name for tool in tools]})

    def _generate(self, messages, stop=None, run_manager=None, **named):
        answers = {one.tool_call_id: one.text for one in messages if isinstance(one, ToolMessage)}
        calls = self.script.turn(self.shown, answers)
        asked = [{"name": tool, "args": given, "id": call, "type": "tool_call"} for call, tool, given in calls]
        message = AIMessage("" if asked else "done", tool_calls=asked)
        return ChatResult(generations=[ChatGeneration(message=message)])


def connection(gate):
    if "url" in gate:
        headers = {"Authorization": f"Bearer {gate['token']}"}
        return {"transport": "streamable_http", "url": gate["url"], "headers": headers}
    command, *rest = gate["command"]
    return {"transport": "stdio", "command": command, "args": rest}


async def main():
    script, gates, _, _ = arguments()
    client = MultiServerMCPClient({str(number): connection(gate) for number, gate in enumerate(gates)})
    async with AsyncExitStack() as stack:
        tools = []
        for name in client.connections:
            tools += await load_mcp_tools(await stack.enter_async_context(client.session(name)))
        agent = create_agent(Scripted(script=script), tools)
        result = await agent.ainvoke({"messages": [("user", "go")]})
    script.end(result["messages"][-1].text)


asyncio.run(main())
