/** A threshold set on the histogram of the picture that it cuts (`{"image": file input}`, else the one upstream). */

import { useEffect, useState } from "react";
import { fileUrl } from "../../server/api";
import { picturesOf, useNodeRun } from "../../state/runStore";
import { useDocument } from "../../state/tabs";
import { usePictureUnder } from "../image/useInputFile";
import { loadPicture, pixelsOf } from "../regionEditor/pixels";
import type { WidgetProps } from "../types";
import { above, BINS, histogram } from "./histogram";
import styles from "./maskThreshold.module.css";

const SIDE = 128;

export function MaskThreshold({ id, label, spec, value, onChange, disabled, at }: WidgetProps) {
  const key = useDocument((d) => d.key);
  const run = useNodeRun(key, at?.node ?? "");
  const { underDigest } = usePictureUnder(at);
  const digest = picturesOf(run?.ui ?? [])[0]?.digest ?? underDigest;
  const [counts, setCounts] = useState<readonly number[]>([]);
  const [low, high] = [spec.low ?? 0, spec.high ?? 1];
  const number = typeof value === "number" ? value : low;
  useEffect(() => {
    if (!digest) return setCounts([]);
    let stale = false;
    loadPicture(fileUrl(digest)).then(
      (image) => stale || setCounts(histogram(pixelsOf(image, SIDE, SIDE).data)),
      () => stale || setCounts([]),
    );
    return () => {
      stale = true;
    };
  }, [digest]);
  const most = Math.max(1, ...counts);
  const part = (number - low) / (high - low || 1);
  return (
    <div className={styles.threshold}>
      <svg viewBox={`0 0 ${BINS} 24`} preserveAspectRatio="none" aria-hidden="true">
        {counts.map((count, bin) => (
          <rect
            // biome-ignore lint/suspicious/noArrayIndexKey: a bin is its place
            key={bin}
            x={bin}
            width={1}
            y={24 - 24 * Math.sqrt(count / most)}
            height={24 * Math.sqrt(count / most)}
            data-kept={bin / BINS >= part}
          />
        ))}
      </svg>
      <input
        id={id}
        type="range"
        aria-label={label}
        min={low}
        max={high}
        step={spec.step ?? (high - low) / 200}
        value={number}
        disabled={disabled}
        onChange={(event) => onChange(Number(event.target.value))}
      />
      <output htmlFor={id}>
        {number.toFixed(2)}
        {counts.length > 0 && `, ${Math.round(100 * above(counts, part))} % lie above`}
      </output>
    </div>
  );
}
