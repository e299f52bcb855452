"""Linear algebra on one thread."""

from threadpoolctl import threadpool_info, threadpool_limits

from search.system.threads import one_blas_thread


def num_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_every_library_works_on_one_thread_and_is_left_as_it_was() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = num_threads()
        assert set(before) == {2}
        with one_blas_thread():
            assert num_threads() == [1] * len(before)
        assert num_threads() == before
