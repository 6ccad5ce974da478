"""Kills the server with SIGKILL, again and again, under the load of real clients, and checks after each
restart and one reconciliation that nothing acknowledged is lost and nothing else is left.

    python Tests/Interop/kill_torture.py --kills 200 [--seed N]

One seed makes the same choices: what each worker draws, when the kill comes. The instant of a kill in the
life of the process cannot be made the same, so another run of a seed is another run.

A cycle: the load starts; between 10 and 1,500 ms later comes the kill; the server is started again on the
same data, in one of five cycles only to be killed again within 300 ms; then the check (`kill_check`), and
the load goes on with the images there are.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ambrotype import Server, StartFailed
from clouds import Cloud, CloudsFile, Site
from image_api import MIB
from kill_check import Catalogue, Check, fsck, has_fsck, some, wait_until_finished
from kill_load import ByHand, BySDK, CommandLineWorker, Run, Worker

WORKERS = 6
COMMAND_LEAD_SECONDS = 1.0  # about what a command line client takes before its first request
UNFINISHED_SECONDS = 15  # how long a reconciliation may take
# Room for all there is, so that nothing is refused, and yet everything is charged and reserved.
SETTINGS = {"image": {"quota": {"bytes": 16 << 30}}}


@dataclass
class Figures:
    """What a run did, for those who write it down."""

    seed: int
    kills: int = 0
    kills_in_recovery: int = 0
    happened: int = 0
    did_not_happen: int = 0
    checked_bytes: int = 0
    counts: Counter = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    seconds: float = 0

    def lines(self) -> list[str]:
        return [
            f"seed {self.seed}: {self.kills} kills, {self.kills_in_recovery} of them during a recovery, "
            f"in {self.seconds:.0f} s",
            f"{self.counts['acknowledged']} changes acknowledged, "
            f"{self.happened + self.did_not_happen} cut off: {self.happened} had happened, "
            f"{self.did_not_happen} had not",
            f"{self.counts['uploaded_bytes'] / MIB:.0f} MiB uploaded, {self.counts['read_bytes'] / MIB:.0f} MiB read "
            f"under load, {self.checked_bytes / MIB:.0f} MiB in checks",
            f"from start to clean: median {statistics.median(self.recoveries or [0]):.2f} s, "
            f"longest {max(self.recoveries, default=0):.2f} s",
        ]


def site_of(server: Server, directory: Path) -> Site:
    clouds = yaml.safe_load((server.data_dir / "clouds.yaml").read_text())["clouds"]
    directory.mkdir(mode=0o700)
    return Site(CloudsFile(directory / "clouds.yaml", clouds), server.url + "/image", "ambrotype-admin", "ambrotype")


class Torture:
    """A server and its load. `problems` stays empty as long as all is well."""

    def __init__(self, server: Server, seed: int, command_every: int = 1, say=print):
        """`command_every`: every how many cycles the command line clients take part."""
        self.server = server
        self.random = random.Random(seed)
        self.command_every = command_every
        self.say = say
        self.figures = Figures(seed)
        self.problems: list[str] = []
        self._logged_in = float("-inf")
        server.start()
        self.site = site_of(server, server.data_dir.with_suffix(".clients"))
        self.projects = [self.site.demo, self.site.user("torture")]
        self.commands = CommandLineWorker("commands", self.projects[0], self.site.file.path.parent)
        self.workers: list[Worker] = []
        for index in range(WORKERS):
            mine, other = self.projects[index % 2], self.projects[1 - index % 2]
            client = BySDK(connected(mine)) if index % 3 == 2 else ByHand(mine.api)
            self.workers.append(Worker(f"worker-{index}", mine.project_id, client, other.project_id, ByHand(other.api)))
        self.admin = self.site.admin.api
        self.has_fsck = has_fsck()
        if not self.has_fsck:
            say("this build has no fsck: the checks do without")

    def run(self, kills: int) -> list[str]:
        """So many cycles, and an end in good order; stops at the first with a problem."""
        start = time.monotonic()
        self.say(f"seed {self.figures.seed}: the same choices again with this seed, though not the same instants")
        try:
            for cycle in range(kills):
                self._log_in_again()
                self._cycle(cycle)
                if self.problems:
                    break
            else:
                self._stop_and_look()
        finally:
            self.figures.seconds = time.monotonic() - start
            self.server.kill()
        return self.problems

    def _log_in_again(self) -> None:
        """Tokens live for an hour; the SDK renews its own."""
        if time.monotonic() - self._logged_in < 1500:
            return
        self._logged_in = time.monotonic()
        for cloud in (self.site.admin, *self.projects):
            cloud.sdk.session.invalidate()
        self.admin.token = self.site.admin.sdk.auth_token
        tokens = {cloud.project_id: cloud.sdk.auth_token for cloud in self.projects}
        for worker in self._everybody():
            worker.client.api.token = tokens[worker.project]
            worker.other.api.token = tokens.get(worker.other_project, "")

    def _cycle(self, cycle: int) -> None:
        draw, run = self.random, Run()
        delay, kills_again, again = draw.uniform(0.01, 1.5), draw.random() < 0.2, draw.uniform(0, 0.3)
        seed, lead = f"{self.figures.seed}/{cycle}", draw.uniform(0, COMMAND_LEAD_SECONDS)
        threads = []
        if cycle % self.command_every == 0:
            threads.append(self.commands.begin(run, seed))
            run.failed.wait(lead)
        threads += [worker.begin(run, seed) for worker in self.workers]
        run.failed.wait(delay)
        run.is_killed.set()
        self.server.kill()
        self.figures.kills += 1
        for thread in threads:
            thread.join(150)
            if thread.is_alive():
                run.violated(f"{thread.name}: no end 150 s after the kill")
        self.figures.counts += run.counts
        if not run.problems:
            self._recover(run, again if kills_again else None)
        if not run.problems:
            run.problems += self._check(run)
        self.problems += [f"seed {self.figures.seed}, cycle {cycle}: {problem}" for problem in run.problems]

    def _recover(self, run: Run, kill_after: float | None) -> None:
        try:
            if kill_after is not None:
                self.server.relaunch()
                time.sleep(kill_after)  # a moment, not a condition: the recovery is anywhere
                self.server.kill()
                self.figures.kills += 1
                self.figures.kills_in_recovery += 1
            start = time.monotonic()
            self.server.relaunch().wait_until_ready(30)
        except StartFailed as error:
            run.violated(f"it does not start again: {error}")
            return
        wait_until_finished(Catalogue(self.server.data_dir), UNFINISHED_SECONDS)
        self.figures.recoveries.append(time.monotonic() - start)

    def _everybody(self) -> list[Worker]:
        return [self.commands, *self.workers]

    def _check(self, run: Run) -> list[str]:
        workers = self._everybody()
        gone = [id for worker in workers for id in worker.deleted]
        check = Check(self.server, self.admin, [image for worker in workers for image in worker.images],
                      some(gone, 10, self.random))
        problems = check.run(UNFINISHED_SECONDS)
        self.figures.happened += check.happened
        self.figures.did_not_happen += check.did_not_happen
        self.figures.checked_bytes += check.bytes_read
        if problems:
            return problems
        for worker in workers:
            worker.settle()
        return fsck(self.server) if self.has_fsck else []

    def _stop_and_look(self) -> None:
        """An end in good order leaves what a kill leaves: all that was acknowledged, and nothing else."""
        code = self.server.stop()
        if code != 0:
            self.problems.append(f"seed {self.figures.seed}: it ended with status {code} when told to stop")
        if self.has_fsck:
            self.problems += fsck(self.server)


def connected(cloud: Cloud) -> Cloud:
    """A connection of its own for the same user, whose first requests are made."""
    own = Cloud(cloud.name, cloud.file, cloud.image_url)
    own.sdk.image.get_api_major_version()
    list(own.sdk.image.images(limit=1, paginated=False))
    return own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--directory", type=Path, help="where the data goes; kept when something is wrong")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="ambrotype-torture-", dir=arguments.directory))
    config = root / "settings.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(SETTINGS))
    data_dir = root / "data"
    data_dir.mkdir()
    torture = Torture(Server(data_dir, config=config), arguments.seed)
    problems = torture.run(arguments.kills)
    print("\n".join(torture.figures.lines()))
    if not problems:
        shutil.rmtree(root, ignore_errors=True)
        return 0
    print("\n".join(problems[:50]))
    print(f"WRONG: {len(problems)} problems; the data is kept in {root}\n{torture.server.tail(40)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
