"""The load that a server is killed under: workers that change images of their own and remember what was
acknowledged (`kill_oracle`). What they do is drawn from their seeds; what the draws meet depends on the
instant of the kill, so one seed makes the same choices and not the same run.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keystoneauth1.exceptions
import openstack.exceptions
import requests

from clouds import Cloud, CommandFailed
from image_api import MIB, ImageAPI, Upload, describe
from kill_oracle import (DELETED, OURS, Data, Image, changed, created, deleted, uploaded, with_member, with_property,
                         with_tag, without_tag)

IMAGES_A_WORKER = 6


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, text: str):
        self.status = status
        super().__init__(text)


class CutOff(Exception):
    """No answer, or not all of it: the request may have been carried out."""


class NotReached(CutOff):
    """Nobody was there: it was not."""


class Violation(AssertionError):
    """The server did what it must not."""


CONNECTION_LOST = (requests.RequestException, http.client.HTTPException, OSError,
                   keystoneauth1.exceptions.ConnectionError)


def lost(error: Exception) -> CutOff:
    return (NotReached if "Connection refused" in str(error) else CutOff)(repr(error))


class ByHand:
    """The Image API, spoken by hand."""

    def __init__(self, api: ImageAPI):
        self.api = api

    def _do(self, method: str, path: str, *statuses: int, **options) -> requests.Response:
        try:
            response = self.api.request(method, path, **options)
        except CONNECTION_LOST as error:
            raise lost(error) from error
        if response.status_code not in statuses:
            raise Refused(response.status_code, describe(response))
        return response

    def create(self, **fields) -> str:
        fields |= {"disk_format": "raw", "container_format": "bare"}
        return self._do("POST", "/v2/images", 201, json=fields).json()["id"]

    def upload(self, id: str, data: Data, is_chunked: bool) -> None:
        self.finish(self.begin(id, data, is_chunked), data, 0)

    def begin(self, id: str, data: Data, is_chunked: bool, sent: int = 0) -> Upload:
        """An upload with its first bytes under way."""
        try:
            upload = self.api.begin_upload(id, None if is_chunked else data.size)
        except CONNECTION_LOST as error:
            raise lost(error) from error
        try:
            upload.send(data.pattern.blocks(0, sent))
        except CONNECTION_LOST:
            pass  # its answer says why
        return upload

    def finish(self, upload: Upload, data: Data, sent: int) -> None:
        try:
            status, body = upload.send_all_and_answer(data.pattern.blocks(sent))
        except CONNECTION_LOST as error:
            raise CutOff(repr(error)) from error
        if status != 204:
            raise Refused(status, f"upload: {status} {body!r}")

    def status(self, id: str) -> str:
        return self._do("GET", f"/v2/images/{id}", 200).json()["status"]

    def set_property(self, id: str, name: str, value: str) -> None:
        self._patch(id, {"op": "add", "path": f"/{name}", "value": value})

    def rename(self, id: str, name: str) -> None:
        self._patch(id, {"op": "replace", "path": "/name", "value": name})

    def protect(self, id: str, is_protected: bool) -> None:
        self._patch(id, {"op": "replace", "path": "/protected", "value": is_protected})

    def _patch(self, id: str, operation: dict) -> None:
        self._do("PATCH", f"/v2/images/{id}", 200, json=[operation],
                 headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})

    def add_tag(self, id: str, tag: str) -> None:
        self._do("PUT", f"/v2/images/{id}/tags/{tag}", 204)

    def remove_tag(self, id: str, tag: str) -> None:
        self._do("DELETE", f"/v2/images/{id}/tags/{tag}", 204)

    def add_member(self, id: str, project: str) -> None:
        self._do("POST", f"/v2/images/{id}/members", 200, json={"member": project})

    def answer_member(self, id: str, project: str, status: str) -> None:
        self._do("PUT", f"/v2/images/{id}/members/{project}", 200, json={"status": status})

    def remove_member(self, id: str, project: str) -> None:
        self._do("DELETE", f"/v2/images/{id}/members/{project}", 204)

    def deactivate(self, id: str) -> None:
        self._do("POST", f"/v2/images/{id}/actions/deactivate", 204)

    def reactivate(self, id: str) -> None:
        self._do("POST", f"/v2/images/{id}/actions/reactivate", 204)

    def delete(self, id: str) -> None:
        self._do("DELETE", f"/v2/images/{id}", 204)

    def download(self, id: str) -> str:
        """The SHA-512 of what came."""
        digest = hashlib.sha512()
        response = self._do("GET", f"/v2/images/{id}/file", 200, stream=True)
        try:
            for piece in response.iter_content(MIB):
                digest.update(piece)
        except CONNECTION_LOST as error:
            raise CutOff(repr(error)) from error
        return digest.hexdigest()

    def read(self, id: str, start: int, end: int) -> bytes:
        return self._do("GET", f"/v2/images/{id}/file", 206, headers={"Range": f"bytes={start}-{end - 1}"}).content


class BySDK(ByHand):
    """What openstacksdk has a call for goes through that, the rest by hand."""

    def __init__(self, cloud: Cloud):
        super().__init__(cloud.api)
        self._sdk = cloud.sdk.image

    def _call(self, call: Callable, *arguments, **options):
        try:
            return call(*arguments, **options)
        except openstack.exceptions.HttpException as error:
            if error.response is None:
                raise CutOff(repr(error)) from error
            raise Refused(error.response.status_code, repr(error)) from error
        except CONNECTION_LOST as error:
            raise lost(error) from error

    def create(self, **fields) -> str:
        return self._call(self._sdk.create_image, fields.pop("name"), container_format="bare", disk_format="raw",
                          allow_duplicates=True, **fields).id

    def upload(self, id: str, data: Data, is_chunked: bool) -> None:
        # With an iterator requests sends chunks, but the SDK cannot tell the size.
        body = data.pattern.blocks() if is_chunked else data.pattern.bytes()
        response = self._call(self._sdk.put, f"/images/{id}/file", data=body,
                              headers={"Content-Type": "application/octet-stream"})
        if response.status_code != 204:
            raise Refused(response.status_code, response.text)

    def rename(self, id: str, name: str) -> None:
        self._call(self._sdk.update_image, id, name=name)

    def set_property(self, id: str, name: str, value: str) -> None:
        self._call(self._sdk.update_image, id, **{name: value})

    def protect(self, id: str, is_protected: bool) -> None:
        self._call(self._sdk.update_image, id, is_protected=is_protected)

    def add_tag(self, id: str, tag: str) -> None:
        self._call(self._sdk.add_tag, id, tag)

    def remove_tag(self, id: str, tag: str) -> None:
        self._call(self._sdk.remove_tag, id, tag)

    def add_member(self, id: str, project: str) -> None:
        self._call(self._sdk.add_member, id, member_id=project)

    def remove_member(self, id: str, project: str) -> None:
        self._call(self._sdk.remove_member, project, image=id, ignore_missing=False)

    def deactivate(self, id: str) -> None:
        self._call(self._sdk.deactivate_image, id)

    def reactivate(self, id: str) -> None:
        self._call(self._sdk.reactivate_image, id)

    def delete(self, id: str) -> None:
        self._call(self._sdk.delete_image, id, ignore_missing=False)


def drawn_size(source: random.Random) -> int:
    """Mostly small, now and then large."""
    largest = source.choices((0, 4096, MIB, 8 * MIB, 24 * MIB), weights=(6, 25, 34, 25, 10))[0]
    return source.randint(0, largest)


@dataclass
class Run:
    """What the workers of one load share."""

    is_killed: threading.Event = field(default_factory=threading.Event)
    failed: threading.Event = field(default_factory=threading.Event)
    problems: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, **what: int) -> None:
        with self._lock:
            self.counts.update(what)

    def violated(self, text: str) -> None:
        with self._lock:
            self.problems.append(text)
        self.failed.set()


class Worker:
    """Images of one project, changed one after the other by one thread, until the server is gone."""

    def __init__(self, name: str, project: str, client: ByHand, other_project: str, other: ByHand):
        self.name = name
        self.project = project
        self.client = client
        self.other_project = other_project
        self.other = other
        self.images: list[Image] = []
        self.deleted: list[str] = []

    def begin(self, run: Run, seed: str) -> threading.Thread:
        self.run = run
        self.random = random.Random(f"{seed}/{self.name}")
        thread = threading.Thread(target=self._work, name=self.name)
        thread.start()
        return thread

    def _work(self) -> None:
        try:
            while not self.run.failed.is_set():
                self._step()
        except CutOff as error:
            if not self.run.is_killed.is_set():
                self.run.violated(f"{self.name}: a connection was cut off before the kill: {error}")
        except Refused as error:
            self.run.violated(f"{self.name}: refused: {error}")
        except Violation as error:
            self.run.violated(f"{self.name}: {error}")
        except Exception as error:  # a mistake of the test, which must not pass for a success
            self.run.violated(f"{self.name}: {error!r}")
            raise

    def settle(self) -> None:
        """After a check: forgets the images that are no more."""
        self.deleted += [image.id for image in self.images if image.facts == DELETED]
        self.images = [image for image in self.images if image.facts.is_present]

    def _step(self) -> None:
        draw = self.random
        images = [image for image in self.images if image.facts.is_present]
        if len(images) < IMAGES_A_WORKER and draw.random() < 0.5 or not images:
            return self._create()
        image = draw.choice(images)
        match image.facts.status:
            case "queued":
                steps = {self._upload: 8, self._race_uploads: 2, self._delete_during_upload: 2, self._delete_at_once: 2,
                         self._change_during_upload: 2, self._break_off_upload: 1, self._set_property: 1, self._tag: 1,
                         self._delete: 1}
            case "active":
                steps = {self._download: 3, self._read_range: 3, self._set_property: 2, self._rename: 1, self._tag: 2,
                         self._share: 3, self._deactivate: 1, self._protect: 2, self._upload_again: 1, self._delete: 6}
            case _:
                steps = {self._reactivate: 3, self._download_refused: 1, self._delete: 1}
        draw.choices(list(steps), weights=list(steps.values()))[0](image)

    # How a request ends.

    def _attempt(self, image: Image, what: str, step, call: Callable, *arguments) -> None:
        """A request that must succeed, unless it is cut off."""
        try:
            call(image.id, *arguments)
        except NotReached:
            raise
        except CutOff:
            image.doubt(what, step)
            raise
        self._acknowledged(image, what, step)

    def _acknowledged(self, image: Image, what: str, *steps) -> None:
        image.acknowledge(what, *steps)
        self.run.count(acknowledged=1)

    def _require_refusal(self, image: Image, status: int, call: Callable, *arguments) -> None:
        try:
            call(image.id, *arguments)
        except Refused as refusal:
            if refusal.status != status:
                raise Violation(f"{image}: {status} was expected: {refusal}") from refusal
            return
        raise Violation(f"{image}: {status} was expected of {call.__name__}, and it succeeded")

    def _data(self, at_least: int = 0) -> Data:
        return Data(max(at_least, drawn_size(self.random)), self.random.getrandbits(48))

    # Single requests.

    def _create(self) -> None:
        name = f"torture {self.name} {self.random.getrandbits(32):08x}"
        id = str(uuid.UUID(int=self.random.getrandbits(128), version=4)) if self.random.random() < 0.8 else None
        image = Image(id, name, self.project)
        properties, tags = {OURS + "origin": self.name}, [f"tag{self.random.randrange(3)}"]
        step = created(name, tags, properties.items())
        try:
            heard = self.client.create(name=name, tags=tags, **properties, **({"id": id} if id else {}))
        except NotReached:
            raise
        except CutOff:
            image.doubt("create", step)
            self.images.append(image)
            raise
        if id and heard != id:
            raise Violation(f"{image}: created as {heard}")
        image.id = heard
        self._acknowledged(image, "create", step)
        self.images.append(image)

    def _upload(self, image: Image) -> None:
        data, is_chunked = self._data(), self.random.random() < 0.5
        self._attempt(image, f"upload {data.size}", uploaded(data), self.client.upload, data, is_chunked)
        self.run.count(uploaded_bytes=data.size)

    def _upload_again(self, image: Image) -> None:
        # Few bytes: the answer comes while they are sent, and a large body would meet a closed connection.
        self._require_refusal(image, 409, self.client.upload, Data(1000, self.random.getrandbits(48)), False)

    def _download(self, image: Image) -> None:
        found = self.client.download(image.id)
        if found != image.facts.data.digests()[1]:
            raise Violation(f"{image}: other bytes are read than were sent")
        self.run.count(read_bytes=image.facts.data.size)

    def _read_range(self, image: Image) -> None:
        data = image.facts.data
        if data.size == 0:
            return
        start = self.random.randrange(data.size)
        end = min(data.size, start + self.random.randint(1, 2 * MIB))
        if self.client.read(image.id, start, end) != data.pattern.bytes(start, end):
            raise Violation(f"{image}: bytes {start} to {end} are not those that were sent")
        self.run.count(read_bytes=end - start)

    def _download_refused(self, image: Image) -> None:
        self._require_refusal(image, 403, self.client.download)

    def _set_property(self, image: Image) -> None:
        name, value = f"{OURS}p{self.random.randrange(3)}", f"{self.random.getrandbits(32):08x}"
        self._attempt(image, f"{name}={value}", with_property(name, value), self.client.set_property, name, value)

    def _rename(self, image: Image) -> None:
        name = f"torture {self.name} {self.random.getrandbits(32):08x}"
        self._attempt(image, "rename", changed(name=name), self.client.rename, name)

    def _tag(self, image: Image) -> None:
        if image.facts.tags and self.random.random() < 0.5:
            tag = self.random.choice(sorted(image.facts.tags))
            self._attempt(image, f"untag {tag}", without_tag(tag), self.client.remove_tag, tag)
        else:
            tag = f"tag{self.random.randrange(5)}"
            self._attempt(image, f"tag {tag}", with_tag(tag), self.client.add_tag, tag)

    def _share(self, image: Image) -> None:
        """To the other project, which then can read it, and may answer."""
        status = dict(image.facts.members).get(self.other_project)
        if status is None:
            self._require_refusal(image, 404, self.other.status)
            self._attempt(image, "share", with_member(self.other_project, "pending"), self.client.add_member,
                          self.other_project)
            self.other.status(image.id)
        elif status == "pending":
            answer = self.random.choice(("accepted", "rejected"))
            self._attempt(image, answer, with_member(self.other_project, answer), self.other.answer_member,
                          self.other_project, answer)
        else:
            self._attempt(image, "unshare", with_member(self.other_project, None), self.client.remove_member,
                          self.other_project)

    def _protect(self, image: Image) -> None:
        if image.facts.is_protected:
            self._attempt(image, "unprotect", changed(is_protected=False), self.client.protect, False)
        else:
            self._attempt(image, "protect", changed(is_protected=True), self.client.protect, True)

    def _deactivate(self, image: Image) -> None:
        self._attempt(image, "deactivate", changed(is_deactivated=True), self.client.deactivate)

    def _reactivate(self, image: Image) -> None:
        self._attempt(image, "reactivate", changed(is_deactivated=False), self.client.reactivate)

    def _delete(self, image: Image) -> None:
        if image.facts.is_protected:
            return self._require_refusal(image, 403, self.client.delete)
        self._attempt(image, "delete", deleted, self.client.delete)

    # Several requests to one image at once. Where one is refused with its body under way, its answer may
    # be lost with the closed connection: that is no violation.

    def _together(self, *calls: Callable) -> list[Exception | None]:
        """None for each that succeeded."""
        results: list[Exception | None] = [Violation("hung")] * len(calls)

        def run(index: int) -> None:
            try:
                results[index] = calls[index]()
            except (CutOff, Refused) as error:
                results[index] = error

        threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
        [thread.start() for thread in threads]
        [thread.join(120) for thread in threads]
        for result in results:
            if isinstance(result, Violation) or isinstance(result, Refused) and result.status >= 500:
                raise Violation(f"{self.name}: of requests at once: {result}")
        return results

    def _race_uploads(self, image: Image) -> None:
        """One wins."""
        contents = [self._data() for _ in range(self.random.randint(2, 3))]
        calls = [lambda data=data, is_chunked=self.random.random() < 0.5: self.client.upload(image.id, data, is_chunked)
                 for data in contents]
        results = self._together(*calls)
        won = [data for data, result in zip(contents, results) if result is None]
        maybe = [data for data, result in zip(contents, results)
                 if isinstance(result, CutOff) and not isinstance(result, NotReached)]
        if len(won) > 1:
            raise Violation(f"{image}: {len(won)} uploads to it were acknowledged")
        for result in results:
            if isinstance(result, Refused) and result.status != 409:
                raise Violation(f"{image}: 409 was expected: {result}")
        if won:
            self._acknowledged(image, f"upload {won[0].size}, of {len(contents)} at once", uploaded(won[0]))
            self.run.count(uploaded_bytes=won[0].size)
            return
        image.doubt_each(f"{len(contents)} uploads at once", *[uploaded(data) for data in maybe])
        if not self.run.is_killed.is_set():
            raise Violation(f"{image}: of {len(contents)} uploads at once none was acknowledged: {results}")
        raise CutOff(f"{image}: uploads at once")

    def _begun(self, image: Image, data: Data) -> Upload:
        upload = self.client.begin(image.id, data, self.random.random() < 0.5, data.size // 2)
        self._wait_for(image, "saving")
        return upload

    def _wait_for(self, image: Image, status: str) -> None:
        deadline = time.monotonic() + 30
        while (found := self.client.status(image.id)) != status:
            if time.monotonic() > deadline:
                raise Violation(f"{image}: it is {found}, and not {status} after 30 s")
            time.sleep(0.002)

    def _delete_during_upload(self, image: Image) -> None:
        """Half of the bytes are there: the upload cannot be acknowledged any more."""
        data = self._data(at_least=2)
        upload = self._begun(image, data)
        try:
            self._attempt(image, "delete during an upload", deleted, self.client.delete)
        except CutOff:
            upload.abort()
            raise
        try:
            self.client.finish(upload, data, data.size // 2)
        except CutOff:
            return
        except Refused as refusal:
            if refusal.status not in (404, 410):
                raise Violation(f"{image}: the upload to a deleted image: {refusal}") from refusal
            return
        raise Violation(f"{image}: an upload to a deleted image was acknowledged")

    def _delete_at_once(self, image: Image) -> None:
        """A deletion and an upload, whichever comes first."""
        data, pause = self._data(), self.random.uniform(0, 0.03)

        def delete() -> None:
            time.sleep(pause)
            self.client.delete(image.id)

        sent, gone = self._together(lambda: self.client.upload(image.id, data, False), delete)
        if isinstance(gone, Refused) or isinstance(sent, Refused) and sent.status not in (404, 410):
            raise Violation(f"{image}: deletion and upload at once: {gone}, {sent}")
        if gone is None:
            return self._acknowledged(image, "delete and upload at once", deleted)
        steps = [deleted]
        if sent is None:
            self._acknowledged(image, f"upload {data.size}", uploaded(data))
        elif isinstance(sent, CutOff):
            steps = [uploaded(data), deleted]
        image.doubt("delete and upload at once", *steps)
        raise gone

    def _change_during_upload(self, image: Image) -> None:
        """Properties change while the bytes come, which take their time."""
        data = self._data(at_least=2)
        upload = self._begun(image, data)
        self._set_property(image)
        self._tag(image)
        self.run.is_killed.wait(self.random.uniform(0, 0.2))
        what, step = f"slow upload {data.size}", uploaded(data)
        self._attempt(image, what, step, lambda _: self.client.finish(upload, data, data.size // 2))
        self.run.count(uploaded_bytes=data.size)

    def _break_off_upload(self, image: Image) -> None:
        """The client goes away: the image waits for data as before."""
        self._begun(image, self._data(at_least=2)).abort()
        image.story.append("upload broken off")
        self._wait_for(image, "queued")


class CommandLineWorker(Worker):
    """The same through `openstack` and `glance`: few requests, the clients' own order of them."""

    def __init__(self, name: str, cloud: Cloud, directory: Path):
        super().__init__(name, cloud.project_id, ByHand(cloud.api), "", ByHand(cloud.api))
        self.cloud = cloud
        self.file = directory / f"{name}.bin"

    def _step(self) -> None:
        draw = self.random
        images = [image for image in self.images if image.facts.is_present]
        if len(images) < 3 or len(images) < IMAGES_A_WORKER and draw.random() < 0.4:
            return draw.choice((self._create_with_data, self._create_with_glance))()
        image = draw.choice(images)
        steps = [self._set, self._delete_one, self._tag_with_glance]
        steps.append(self._save if image.facts.data else self._upload_with_glance)
        draw.choice(steps)(image)

    def _command(self, command: Callable, *arguments: str, **options) -> None:
        """A command line client retries nothing, and says of a broken connection only that it failed."""
        try:
            command(*arguments, **options)
        except CommandFailed as error:
            if self.run.is_killed.is_set():
                raise CutOff(str(error)) from error
            raise Violation(f"{self.name}: {error}") from error

    def _new(self) -> tuple[Image, Data]:
        data = self._data()
        with open(self.file, "wb") as file:
            file.writelines(data.pattern.blocks())
        id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        return Image(id, f"torture {self.name} {id[:8]}", self.project), data

    def _create_with_data(self) -> None:
        image, data = self._new()
        self.images.append(image)
        steps = created(image.name, ["cli"], [(OURS + "by", "openstack")]), uploaded(data)
        try:
            self._command(self.cloud.openstack, "image", "create", image.name, "--id", image.id, "--tag", "cli",
                          "--property", OURS + "by=openstack", "--disk-format", "raw", "--file", str(self.file))
        except CutOff:
            # The SDK deletes an image whose upload fails.
            image.doubt("openstack image create", *steps, deleted)
            raise
        self._acknowledged(image, "openstack image create", *steps)
        self.run.count(uploaded_bytes=data.size)

    def _create_with_glance(self) -> None:
        image, data = self._new()
        self.images.append(image)
        steps = created(image.name), uploaded(data)
        try:
            self._command(self.cloud.glance, "image-create", "--id", image.id, "--name", image.name, "--disk-format",
                          "raw", "--container-format", "bare", "--file", str(self.file))
        except CutOff:
            image.doubt("glance image-create", *steps)
            raise
        self._acknowledged(image, "glance image-create", *steps)
        self.run.count(uploaded_bytes=data.size)

    def _attempt_command(self, image: Image, step, command: Callable, *arguments: str, **options) -> None:
        self._attempt(image, " ".join(arguments[:2]), step, lambda _: self._command(command, *arguments, **options))

    def _set(self, image: Image) -> None:
        name, value = f"{OURS}p{self.random.randrange(3)}", f"{self.random.getrandbits(32):08x}"
        self._attempt_command(image, with_property(name, value), self.cloud.openstack, "image", "set", "--property",
                              f"{name}={value}", image.id, json_output=False)

    def _tag_with_glance(self, image: Image) -> None:
        tag = f"tag{self.random.randrange(5)}"
        self._attempt_command(image, with_tag(tag), self.cloud.glance, "image-tag-update", image.id, tag)

    def _upload_with_glance(self, image: Image) -> None:
        data = self._data()
        with open(self.file, "wb") as file:
            file.writelines(data.pattern.blocks())
        self._attempt_command(image, uploaded(data), self.cloud.glance, "image-upload", "--file", str(self.file),
                              image.id)
        self.run.count(uploaded_bytes=data.size)

    def _save(self, image: Image) -> None:
        self._command(self.cloud.openstack, "image", "save", "--file", str(self.file), image.id, json_output=False)
        if hashlib.sha512(self.file.read_bytes()).hexdigest() != image.facts.data.digests()[1]:
            raise Violation(f"{image}: openstack image save wrote other bytes than were sent")
        self.run.count(read_bytes=image.facts.data.size)

    def _delete_one(self, image: Image) -> None:
        if self.random.random() < 0.5:
            self._attempt_command(image, deleted, self.cloud.openstack, "image", "delete", image.id, json_output=False)
        else:
            self._attempt_command(image, deleted, self.cloud.glance, "image-delete", image.id)
