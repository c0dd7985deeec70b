"""Small tensors: one thread each is fastest."""

import cv2
import torch

torch.set_num_threads(1)
cv2.setNumThreads(1)
