"""A pack that talks to its own clients: routes, messages, a look at prompts, scripts for ComfyUI's editor."""

from aiohttp import web
from server import PromptServer

CALLS = []
WEB_DIRECTORY = "./js"
routes = PromptServer.instance.routes


@routes.get("/served/hello/{name}")
async def hello(request):
    return web.json_response({"name": request.match_info["name"], "loud": request.rel_url.query.get("loud", "no")})


@routes.post("/served/echo")
async def echo(request):
    return web.Response(text=(await request.json())["text"], status=201, headers={"X-Other": "1"})


@routes.get("/served/wrong")
async def wrong(request):
    raise ValueError("on purpose")


def first_of(body):
    for node in body["prompt"].values():
        if node["class_type"] == "ServedOldName":
            node["class_type"] = "ServedSpeaks"
    return body


PromptServer.instance.add_on_prompt_handler(first_of)


class ServedSpeaks:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": ""})}}

    RETURN_TYPES = ()
    FUNCTION = "speak"
    OUTPUT_NODE = True

    def speak(self, text):
        PromptServer.instance.send_sync("served.said", {"text": text})
        return {"ui": {"text": [text]}}


NODE_CLASS_MAPPINGS = {"ServedSpeaks": ServedSpeaks}
