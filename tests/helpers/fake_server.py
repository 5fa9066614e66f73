"""What ComfyUI's server is to code that asks how the prompt that runs now ends: a queue, a history, a loop in a thread."""

import asyncio
import contextlib
import threading

from comfy_execution.utils import CurrentNodeContext


class FakeServer:
    """Stands for ``PromptServer.instance`` and its ``prompt_queue``."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.prompt_queue = self
        self.running: list[tuple] = []
        self.status: dict[str, dict] = {}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def get_current_queue_volatile(self):
        """(running, waiting), as tuples (number, prompt id, graph, ...)."""
        return list(self.running), []

    def get_history(self, prompt_id, map_function):
        """The prompt's entry."""
        return {prompt_id: map_function({"status": self.status.get(prompt_id, {})})}

    def send_progress_text(self, text, key):
        """Nobody looks."""

    @contextlib.contextmanager
    def prompt(self, name: str, graph: dict, ends: str = "success"):
        """A prompt runs inside and then ends so, and all that waited for its end is done when this returns."""
        self.running = [(0, name, graph, {})]
        yield
        self.status[name], self.running = {"status_str": ends}, []
        asyncio.run_coroutine_threadsafe(self._rest(), self.loop).result(30)

    async def _rest(self):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.02)

    def node(self, key: str):
        """That node of the running prompt works inside."""
        return CurrentNodeContext(self.running[0][1], key)

    def close(self):
        """Ends the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
