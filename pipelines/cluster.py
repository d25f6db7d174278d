"""Units on a Dask cluster: the same worker process, on whichever machine has room.

Dask decides where; a process of ours beside the Dask worker computes, so that a unit that crashes
or takes too long ends alone. All machines see the workspace under a path (a shared file system);
where a machine has it elsewhere, `HEADWORKS_ROOT` there says where. Locks are `flock`s in the
workspace: also when Dask starts a unit twice after losing a worker, it is computed once. Machines
that share no file system share a storage at a URL: see `pipelines.afar`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.afar import log_tail, private_root
from pipelines.pool import Pool, UnitTimeoutError, WorkerLostError
from pipelines.unit import Spec

_LOST = 3
"""How often Dask tries a unit whose worker was lost before it gives it back."""

_pools: dict[tuple[str, int], Pool] = {}
_guard = threading.Lock()


def run_unit(root: str, spec: Spec) -> dict[str, Any]:
    """Run one unit; called by a Dask worker.

    Args:
        root: the workspace's folder. spec: see `pipelines.attempts`.

    Returns:
        The result, as a worker process says it.
    """
    afar = "shelf" in spec
    root = str(private_root(spec)) if afar else os.environ.get("HEADWORKS_ROOT", root)
    with _guard:
        pool = _pools.get((root, spec["threads"]))
        if pool is None:
            # As many as Dask runs at a time: Dask's own count of threads is the limit.
            pool = _pools[root, spec["threads"]] = Pool(Path(root), 64, spec["threads"])
    if afar:
        (Path(root) / spec["log"]).parent.mkdir(parents=True, exist_ok=True)
    try:
        result = pool.run(spec, lambda done, message: None)
    except WorkerLostError as error:
        result = {"status": "failed", "class": "lost", "message": str(error)}
    except UnitTimeoutError as error:
        result = {"status": "failed", "class": "timeout", "message": str(error)}
    return {**result, "log_text": log_tail(Path(root), spec)} if afar else result


class DaskPool:
    """Worker processes on a cluster; the same calls as `pipelines.pool.Pool`.

    Args:
        root: workspace, on storage that all machines share.
        address: of the scheduler, e.g. tcp://host:8786.

    Raises:
        HeadworksError: Dask is not installed, or nobody answers there.
    """

    def __init__(self, root: Path, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise HeadworksError(
                "--cluster needs Dask; type: pip install 'headworks[dask]'"
            ) from None
        try:
            self._client = Client(address, timeout=10, set_as_default=False)
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, ValueError) as error:
            raise HeadworksError(f"--cluster {address}: no scheduler answers ({error})") from None
        if not workers:
            self._client.close()
            raise HeadworksError(
                f"--cluster {address}: no workers there; start some: dask worker {address} "
                "--nthreads 1"
            )
        self._root = str(root)
        self._address = address
        self._futures: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.slots = sum(int(worker["nthreads"]) for worker in workers.values())
        self._resources = [worker.get("resources") or {} for worker in workers.values()]

    def require(self, stage: str, wanted: Mapping[str, float]) -> None:
        """Complain about a request that no worker can ever meet: Dask would wait for ever.

        Raises:
            HeadworksError: with what the workers offer.
        """
        if wanted and not any(
            all(offer.get(name, 0) >= amount for name, amount in wanted.items())
            for offer in self._resources
        ):
            have = "; ".join(str(offer or "nothing") for offer in self._resources)
            raise HeadworksError(
                f"{stage} needs {dict(wanted)}, and no worker at {self._address} offers that (they "
                f"offer: {have}); start one: dask worker {self._address} --resources GPU=1"
            )

    def run(self, spec: Spec, progress: Callable[[float, str], None]) -> dict[str, Any]:
        """Run one unit somewhere; waits for it.

        Raises:
            WorkerLostError: when its worker was lost again and again.
        """
        import asyncio

        from distributed import KilledWorker

        if self._closed:
            raise WorkerLostError("the run is ending")
        self.require(spec["stage"], spec["resources"])
        future = self._client.submit(
            run_unit,
            self._root,
            spec,
            pure=False,
            retries=0,
            resources=dict(spec["resources"]) or None,
            key=f"{spec['stage']}-{spec['subject']}-{spec['run_id']}-{spec['attempt']}-{id(spec)}",
        )
        with self._lock:
            self._futures.add(future)
        try:
            result: dict[str, Any] = future.result()
            return result
        except KilledWorker as error:
            raise WorkerLostError(f"the cluster lost its workers in the middle ({error})") from None
        except (asyncio.CancelledError, OSError) as error:
            raise WorkerLostError(f"the cluster gave the unit up ({error!r})") from None
        finally:
            with self._lock:
                self._futures.discard(future)

    def abort(self) -> None:
        """Give up what is waiting; what computes now is ended by its machine."""
        self._closed = True
        for future in list(self._futures):
            future.cancel(force=True)

    def close(self, kill: bool = False) -> None:
        """Let go of the cluster; it goes on for others."""
        if kill:
            self.abort()
        self._closed = True
        self._client.close()
