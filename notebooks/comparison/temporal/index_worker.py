import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from index_activities import index_document
from index_workflows import IndexDocuments
from temporalio.client import Client
from temporalio.worker import Worker


async def main():
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    with ThreadPoolExecutor(8) as pool:
        worker = Worker(
            client,
            task_queue="index-pdfs",
            workflows=[IndexDocuments],
            activities=[index_document],
            activity_executor=pool,
        )
        await worker.run()


asyncio.run(main())
