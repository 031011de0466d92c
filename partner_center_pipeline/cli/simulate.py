"""`partner-center simulate`: the simulator alone, in the foreground."""

from datetime import UTC, datetime, timedelta

import click

from partner_center_pipeline.cli.base import console, report_errors, stop


@click.command()
@click.option("--referrals", default=600, show_default=True, help="How many; a million streams too.")
@click.option("--seed", default=2026, show_default=True, help="Another seed, another past.")
@click.option("--live/--still", default=True, show_default=True, help="Whether referrals arrive and change.")
@click.option("--https-port", default=8443, show_default=True, help="Port of the sign-in and the API; 0: any free.")
@click.option("--dns-port", default=8053, show_default=True, help="Port of the resolver, UDP and TCP; 0: any free.")
@report_errors
def simulate(referrals: int, seed: int, live: bool, https_port: int, dns_port: int) -> None:
    """Run the local Microsoft on loopback: Entra ID sign-in, Referrals API and DNS, until Ctrl-C.

    Prints the settings that point the pipeline (or any other client) at it. Codes of `partner-center login` are
    approved on its page; its clock and its faults are under /_sim/.
    """
    from partner_center_pipeline.settings import home
    from partner_center_simulator import Simulator, SimulatorError

    now = datetime.now(UTC).replace(microsecond=0)
    simulator = Simulator(
        seed,
        now,
        referrals,
        recent_from=now - timedelta(hours=12),
        live=live,
        directory=home() / ".hunter/simulator",
        https_port=https_port,
        dns_port=dns_port,
    )
    try:
        simulator.start()
    except SimulatorError as error:
        stop(f"{error}; is another one running? --https-port and --dns-port take others")
    console.print("The local Microsoft runs. Settings for .env:\n")
    for name, value in simulator.environment().items():
        console.print(f"{name}={value}", markup=False)
    console.print(f"\nEnter codes at {simulator.base_url}/device. Ctrl-C ends it.")
    try:
        simulator.wait()
    except KeyboardInterrupt:
        simulator.stop()
