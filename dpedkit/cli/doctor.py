"""`dpedkit doctor`."""

from __future__ import annotations

from dpedkit.cli import options


@options.command(examples=(("dpedkit doctor", "what is installed, and what is missing"),))
def command(printer: options.Printer) -> None:
    """Show what is installed here, and what is missing.

    Versions, devices, photo formats, and where VGG weights are looked for.

    Attach its output when you report a problem.
    """
    from dpedkit import doctor

    printer.show(doctor.examine())
