/** Pictures into and out of canvases. */

/** Load a picture; rejects with a sentence if it cannot be shown. */
export function loadPicture(url: string): Promise<HTMLImageElement> {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("The picture cannot be shown. It may have been removed."));
    image.src = url;
  });
}

/** Return the pixels of a picture, drawn at a size. */
export function pixelsOf(image: CanvasImageSource, width: number, height: number): ImageData {
  const context = contextOf(width, height);
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Write pixels as a PNG file. */
export function pngOf(pixels: ImageData): Promise<Blob> {
  const context = contextOf(pixels.width, pixels.height);
  context.putImageData(pixels, 0, 0);
  return blobOf(context.canvas);
}

export function blobOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((done, fail) => {
    canvas.toBlob(
      (blob) => (blob ? done(blob) : fail(new Error("The picture cannot be written."))),
      "image/png",
    );
  });
}

export function contextOf(width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser gives no canvas.");
  return context;
}
