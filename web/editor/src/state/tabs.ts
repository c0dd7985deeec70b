/** The documents that are open, in order, and the one that is looked at. */

import { createContext, useContext } from "react";
import { create, useStore } from "zustand";
import { emptyWorkflow } from "../graph/document";
import { createDocument, type DocumentState, type DocumentStore } from "./documentStore";
import { useView } from "./viewStore";

interface Tabs {
  readonly open: readonly DocumentStore[];
  readonly active: DocumentStore | null;
  /** Open a document and look at it; one that is open already is only looked at. */
  readonly show: (document: DocumentStore) => void;
  readonly close: (document: DocumentStore) => void;
}

export const useTabs = create<Tabs>((set) => ({
  open: [],
  active: null,
  show: (document) => {
    useView.getState().leaveTo(0); // ids and subgraphs of another document mean nothing here
    set(({ open }) => {
      const there = open.find((other) => other.getState().key === document.getState().key);
      return there ? { active: there } : { open: [...open, document], active: document };
    });
  },
  close: (document) => {
    useView.getState().leaveTo(0);
    set(({ open, active }) => {
      const rest = open.filter((other) => other !== document);
      if (!rest.length) rest.push(createDocument(emptyWorkflow())); // there is always something to work on
      const place = Math.max(0, open.indexOf(document) - 1);
      return { open: rest, active: active === document ? (rest[place] ?? null) : active };
    });
  },
}));

export const DocumentContext = createContext<DocumentStore | null>(null);

/** Return the store of the document that this part of the page shows. */
export function useDocumentStore(): DocumentStore {
  const store = useContext(DocumentContext);
  if (!store) throw new Error("There is no document around this component.");
  return store;
}

/** Read from the document that this part of the page shows. */
export function useDocument<T>(select: (state: DocumentState) => T): T {
  return useStore(useDocumentStore(), select);
}
