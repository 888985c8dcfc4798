"""parallel - a function on many tasks, in processes that inherit what the caller has made.

Not multiprocessing.Pool: its end kills workers that may hold the lock of its queue, and then waits for them for ever."""
import concurrent.futures
import multiprocessing
import os

_work = None    # of the workers: inherited, not sent


def _one(task):
    return _work(task)


def results(work, tasks):
    """work(task) for each task, in whatever order; what has not begun is left out when the caller stops asking."""
    global _work
    _work = work
    jobs = int(os.environ.get("QSFS_JOBS", "2"))
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(_one, task) for task in tasks]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
