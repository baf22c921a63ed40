"""A Jupyter kernel that tests can give cells to."""

import re

from jupyter_client.manager import start_new_kernel


class Kernel:
    """Runs code; tells how it ended."""

    def __enter__(self):
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=CRITICAL"]
        )
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code):
        """Return (error's name, error's message), both empty when the code went through."""
        reply = self.client.execute_interactive(
            code, timeout=300, output_hook=lambda message: None, allow_stdin=False
        )["content"]
        if reply["status"] == "ok":
            return "", ""
        return reply["ename"], re.sub(r"\x1b\[[0-9;]*m", "", reply["evalue"])
