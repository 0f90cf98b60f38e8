"""Faust as the frame of a worker: its loop, agents, supervision, timers and web endpoints. No record goes through
Faust's own consumers, producers or offsets (see the ADR on Faust's role).

A stage's thread hands a chunk to its agent through a channel in memory and waits for the answer. What travels is a
plain value, never a Faust Event, and the channel's queue is not under flow control: a rebalance of the control
consumer clears or skips both of those.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams.runtime.log import Fatal
from streams.stage import Chunk, Work
from topology.model import CONTROL_TOPIC
from topology.sections import HAND_OVER_SECONDS

Answer = concurrent.futures.Future[Work]


@dataclass(slots=True)
class Request:
    """A chunk on its way to an agent, and where the answer goes. Faust remembers the last one of a stream until the
    next comes, and a chunk may hold hundreds of megabytes: so it is emptied when it is worked."""

    held: tuple[Chunk, Answer] | None

    def work(self, process: Callable[[Chunk], Work]) -> None:
        """Answers it, once."""
        assert self.held is not None
        (chunk, answer), self.held = self.held, None
        if not answer.set_running_or_notify_cancel():
            return  # given up before it was begun: it is aborted and done again
        try:
            answer.set_result(process(chunk))
        except BaseException as error:  # noqa: BLE001 - the thread that asked gets it; none leaves an agent
            answer.set_exception(error)


class ChunkChannel(Channel):  # type: ignore[misc]
    """A channel whose queue the app's flow control neither clears nor suspends."""

    @property
    def queue(self) -> ThrowableQueue:
        """A queue with a flow control of its own, which nobody suspends; made in the loop that uses it."""
        made: ThrowableQueue | None = self.__dict__.get("_queue")
        if made is None:
            made = self.__dict__["_queue"] = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return made


class Frame:
    """One Faust app. Make it, add agents and pages, then `start` in a running loop."""

    def __init__(self, app_id: str, bootstrap: str, home: Path, web_bind: str, web_port: int) -> None:
        """`app_id` must differ from every data group; the control consumer's group carries it."""
        self._home = home
        self.app = faust.App(
            app_id,
            broker=f"kafka://{bootstrap}",
            store="memory://",
            datadir=home / "frame",
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="latest",
            web_bind=web_bind,
            web_host=web_bind,
            web_port=web_port,
            autodiscover=False,
        )
        control = self.app.topic(CONTROL_TOPIC, value_serializer="raw", key_serializer="raw")

        async def keep_alive(stream: AsyncIterable[bytes]) -> None:
            # Faust needs one real subscription to run; operators' decisions are read in full elsewhere (DI5).
            async for _ in stream:
                pass

        self.app.agent(control, name="control")(keep_alive)
        self._loop: asyncio.AbstractEventLoop | None = None

    def agent(self, name: str, process: Callable[[Chunk], Work]) -> Callable[[Chunk], Work]:
        """An agent that works chunks with `process`; returns the hand-over for the stage's thread.

        The hand-over raises what `process` raises, and Fatal where no answer comes: the agent may still be working,
        so its state can be neither used nor dropped.
        """
        channel = ChunkChannel(self.app)

        async def work(stream: AsyncIterable[Request]) -> None:
            async for request in stream:
                request.work(process)

        self.app.agent(channel, name=name)(work)

        def hand_over(chunk: Chunk) -> Work:
            if self._loop is None:
                raise Fatal(f"{name}: the frame is not running")
            answer: Answer = concurrent.futures.Future()
            asyncio.run_coroutine_threadsafe(channel.put(Request((chunk, answer))), self._loop)
            try:
                return answer.result(HAND_OVER_SECONDS)
            except concurrent.futures.TimeoutError as late:
                if not answer.done():
                    raise Fatal(f"{name}: no answer within {HAND_OVER_SECONDS:g} s") from late
                raise

        return hand_over

    def page(self, path: str, answer: Callable[[], tuple[int, str, str]]) -> None:
        """Serves GET `path`; `answer` gives status, content type and text."""

        async def handler(web: Any, request: Any) -> Any:
            status, content_type, text = answer()
            return web.text(text, content_type=content_type, status=status)

        self.app.page(path)(handler)

    async def start(self) -> None:
        """Starts Faust; agents can be reached from now on."""
        self._loop = asyncio.get_running_loop()
        self._home.mkdir(parents=True, exist_ok=True)
        await self.app.start()

    async def stop(self, seconds: float) -> None:
        """Stops Faust within `seconds`. Raises TimeoutError."""
        stopping: Awaitable[None] = self.app.stop()
        await asyncio.wait_for(stopping, seconds)
        self._loop = None
