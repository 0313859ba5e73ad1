from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from index_activities import Indexed, index_document


@workflow.defn
class IndexDocuments:
    @workflow.run
    async def run(self, urls: list[str]) -> list[Indexed]:
        return [
            await workflow.execute_activity(index_document, url, start_to_close_timeout=timedelta(seconds=10))
            for url in urls
        ]
