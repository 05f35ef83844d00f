"""OpenCV, which is imported here alone, so that it leaves the environment of the process alone."""

from faces.core.environment import loading_libraries

with loading_libraries():
    import cv2

__all__ = ["cv2"]
