"""What of ComfyUI's core node classes there is here, what of it differs, and what there is not."""

from __future__ import annotations

from collections.abc import Mapping

from engine.compat.core_info import CORE
from engine.spec import NodeSpec

# What a class does otherwise here than there. All others do the same up to rounding.
PARTIAL: dict[str, str] = {
    "KSampler": "Noise drawn at a step is ours; what a mask keeps is put back after each step, not before.",
    "KSamplerAdvanced": "As KSampler.",
    "SamplerCustom": "As KSampler.",
    "SamplerCustomAdvanced": "As KSampler.",
    "KSamplerSelect": "Missing: those with cfg_pp, dpm_fast, dpm_adaptive, heunpp2, ipndm_v, gradient_estimation, "
    "seeds_2, seeds_3, sa_solver.",
    "CLIPTextEncodeSD3": "empty_padding is left aside: an empty text is an empty prompt.",
    "JoinImageWithAlpha": "Saving and taking apart know of transparency; most other nodes do not.",
    "CLIPTextEncode": "BREAK begins a new chunk. A learnt word must be a safetensors file.",
    "ConditioningSetArea": "The model sees the whole picture, not the area alone.",
    "ConditioningSetAreaPercentage": "The model sees the whole picture, not the area alone.",
    "ConditioningSetMask": "The model sees the whole picture, also with `mask bounds`.",
    "ControlNetApplyAdvanced": "vae is left aside: networks that read latents (SD 3, Flux) are missing.",
    "ControlNetLoader": "ControlNet and T2I-Adapter of SD 1, 2 and XL; Control-LoRA and unions are missing.",
    "DifferentialDiffusion": "strength is left aside.",
    "DualCFGGuider": "Patches of the model (PAG and such) are left aside.",
    "GLIGENLoader": "Layers for boxes with texts.",
    "GLIGENTextBoxApply": "Boxes are not rounded to cells.",
    "HyperTile": "swap_size and scale_depth are left aside: tiles have one size.",
    "ImageQuantize": "Bayer dithering is missing.",
    "LatentBlend": "Of blend modes there is the normal one.",
    "LatentInterpolate": "On scaled latents; the same for a model without a shift.",
    "LatentMultiply": "On scaled latents; the same for a model without a shift.",
    "LatentUpscale": "bislerp is bicubic; bilinear and bicubic are anti-aliased.",
    "LatentUpscaleBy": "bislerp is bicubic; bilinear and bicubic are anti-aliased.",
    "LoadImage": "The first frame of an animation is read.",
    "ModelSamplingDiscrete": "lcm and img_to_img count as eps and x0.",
    "BetaSamplingScheduler": "alpha and beta are at least 0.5.",
    "RandomNoise": "The same noise for a batch; that of later steps is ours.",
    "RescaleCFG": "Acts on what the model itself predicts.",
    "SamplerER_SDE": "eta and the reverse-time SDE are left aside.",
    "SaveImage": "Dates in the prefix stay as they are written.",
    "TomePatchModel": "Which places stay is fixed, not drawn.",
    "UNETLoader": "weight_dtype is left aside.",
    "UpscaleModelLoader": "ESRGAN and Real-ESRGAN (4, 2 and 1 times).",
    "VAEDecodeTiled": "overlap is chosen by itself.",
    "VAEEncodeTiled": "overlap is chosen by itself.",
}  # fmt: skip
# Classes of image workflows that are not here, by what they wait for.
MISSING: dict[str, tuple[str, ...]] = {
    "ControlNet of later models, unions": (
        "ControlNetLoader", "DiffControlNetLoader", "ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3",
        "SetUnionControlNetType", "ControlNetInpaintingAliMamaApply", "GLIGENLoader", "GLIGENTextBoxApply",
    ),
    "CLIP vision, styles and unCLIP": (
        "CLIPVisionLoader", "CLIPVisionEncode", "unCLIPCheckpointLoader", "unCLIPConditioning", "StyleModelLoader",
        "StyleModelApply", "PhotoMakerLoader", "PhotoMakerEncode", "USOStyleReference",
    ),
    "transformers (SD3, Flux, Qwen Image and others)": (
        "TripleCLIPLoader", "QuadrupleCLIPLoader", "CLIPTextEncodeSD3", "CLIPTextEncodeFlux", "CLIPTextEncodeLumina2",
        "CLIPTextEncodeHiDream", "CLIPTextEncodeHunyuanDiT", "CLIPTextEncodePixArtAlpha", "CLIPTextEncodeKandinsky5",
        "TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus", "T5TokenizerOptions", "ReferenceLatent",
        "FluxDisableGuidance", "FluxKontextImageScale", "FluxKontextMultiReferenceLatentMethod", "ModelSamplingSD3",
        "ModelSamplingAuraFlow", "ModelSamplingFlux", "SkipLayerGuidanceSD3", "SkipLayerGuidanceDiT",
        "SkipLayerGuidanceDiTSimple", "ModelPatchLoader", "QwenImageDiffsynthControlnet", "ZImageFunControlnet",
        "EmptyHunyuanImageLatent", "EmptyChromaRadianceLatentImage", "ChromaRadianceOptions", "HunyuanRefinerLatent",
        "EmptyQwenImageLayeredLatentImage", "Flux2Scheduler", "OptimalStepsScheduler", "ScaleROPE",
        "StableCascade_EmptyLatentImage", "StableCascade_StageB_Conditioning", "StableCascade_StageC_VAEEncode",
        "StableCascade_SuperResolutionControlnet", "ModelSamplingStableCascade", "LotusConditioning",
    ),
    "hooks of prompts": (
        "ConditioningTimestepsRange", "SetClipHooks", "CombineHooks2", "CombineHooks4", "CombineHooks8",
        "PairConditioningSetProperties", "PairConditioningSetPropertiesAndCombine",
        "PairConditioningSetDefaultCombine",
        "PairConditioningCombine", "ConditioningSetProperties", "ConditioningSetPropertiesAndCombine",
        "ConditioningSetDefaultCombine", "CreateHookLora", "CreateHookLoraModelOnly", "CreateHookModelAsLora",
        "CreateHookModelAsLoraModelOnly", "SetHookKeyframes", "CreateHookKeyframe", "CreateHookKeyframesInterpolated",
        "CreateHookKeyframesFromFloats",
    ),
    "merging and saving of models": (
        "ModelMergeSimple", "ModelMergeBlocks", "ModelMergeSubtract", "ModelMergeAdd", "ModelMergeSD1", "ModelMergeSD2",
        "ModelMergeSDXL", "CheckpointSave", "CLIPMergeSimple", "CLIPMergeSubtract", "CLIPMergeAdd", "CLIPSave",
        "VAESave", "ModelSave", "LoraSave", "HypernetworkLoader",
    ),
    "training": ("TrainLoraNode", "LossGraphNode", "SaveLoRA", "LoraModelLoader"),
    "patches of models": (
        "PerpNeg", "TCFG", "Mahiro", "FreSca", "RenormCFG", "TorchCompileModel", "PatchModelAddDownscale",
        "UNetSelfAttentionMultiply", "UNetCrossAttentionMultiply", "CLIPAttentionMultiply", "EasyCache", "LazyCache",
        "LatentApplyOperation", "LatentApplyOperationCFG", "LatentOperationTonemapReinhard",
        "LatentOperationSharpen",
        "ModelSamplingContinuousEDM", "ModelSamplingContinuousV", "ContextWindowsManual", "TemporalScoreRescaling",
    ),
    "samplers and schedules": (
        "SamplerEulerCFGpp", "SamplerEulerAncestralCFGPP", "SamplerDPMAdaptative", "SamplerSASolver", "SamplerSEEDS2",
        "SamplerLCMUpscale", "GITSScheduler",
    ),
    "pictures with alpha, animations, files": (
        "PorterDuffImageComposite", "JoinImageWithAlpha", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveSVGNode",
        "LoadImageOutput", "WebcamCapture", "LoadLatent", "SaveLatent", "SD_4XUpscale_Conditioning",
    ),
    "lists of pictures and texts": (
        "RegexExtract", "BatchImagesNode", "BatchLatentsNode", "BatchMasksNode", "ImageGrid", "ImageDeduplication",
        "ResizeImageMaskNode", "ResizeImagesByLongerEdge", "ResizeImagesByShorterEdge", "CenterCropImages",
        "RandomCropImages", "NormalizeImages", "AdjustBrightness",
        "AdjustContrast", "MergeImageLists", "MergeTextLists",
        "ReplaceText", "StripWhitespace", "TextToLowercase", "TextToUppercase", "TruncateText", "AddTextPrefix",
        "AddTextSuffix", "CustomCombo",
    ),
}  # fmt: skip


def here(specs: Mapping[str, NodeSpec]) -> list[NodeSpec]:
    """Return the core classes there are, by category and name."""
    found = (spec for spec in specs.values() if spec.category.startswith(CORE) and not spec.pack)
    return sorted(found, key=lambda spec: (spec.category, spec.id))


def missing(specs: Mapping[str, NodeSpec]) -> dict[str, list[str]]:
    """Return the classes of image workflows that are not there, by what they wait for."""
    left = {why: [name for name in names if name not in specs] for why, names in MISSING.items()}
    return {why: names for why, names in left.items() if names}
